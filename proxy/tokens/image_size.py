"""An image's size from its first bytes, without decoding it."""

import base64
import binascii
import re
import struct
from typing import Final

HEADER_CHARACTERS: Final = 400_000
"""How much of the base64 text is read: a JPEG's frame may follow on a long profile."""

_DATA_URL: Final = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,", re.IGNORECASE)
_MARKER: Final = 0xFF
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})

_SIZE_IN_ADDRESS: Final = re.compile(r"[/_-](\d{2,4})x(\d{2,4})(?=[/._?-]|$)")
_WIDTH_IN_ADDRESS: Final = re.compile(r"/(\d{2,4})px-|[?&](?:w|width)=(\d{2,4})(?=&|$)")
_HEIGHT_IN_ADDRESS: Final = re.compile(r"[?&](?:h|height)=(\d{2,4})(?=&|$)")
_BOX_IN_QUERY: Final = re.compile(r"[?&][a-z]+=(\d{2,4})x(\d{2,4})(?=&|$)")
_PHOTOGRAPH: Final = 2 / 3
"""Height by width of an image of which only one of them is known, or a square to fit into."""

Size = tuple[int, int]


def size_of_data_url(url: str) -> Size | None:
    """Give ``(width, height)`` in pixels of a ``data:`` URL; None if it can't be told."""
    start = _DATA_URL.match(url[:200])
    if not start:
        return None
    encoded = url[start.end() : start.end() + HEADER_CHARACTERS]
    try:
        head = base64.b64decode(encoded[: len(encoded) // 4 * 4] or encoded)
    except (binascii.Error, ValueError):
        return None
    size = size_of(head)
    return size if size and min(size) > 0 else None


def size_in_address(url: str) -> Size | None:
    """Give ``(width, height)`` in pixels where a remote image's address tells it.

    Image services put it there: ``/800x400``, MediaWiki's ``/320px-Name.jpg``, ``?w=800&h=400``,
    or ``?s=612x612``, a square that the image fits into.
    """
    address = url[:2000]
    if not address.startswith(("http://", "https://")):
        return None
    if both := _SIZE_IN_ADDRESS.search(address):
        return max(1, int(both[1])), max(1, int(both[2]))
    if (box := _BOX_IN_QUERY.search(address)) and box[1] != box[2]:
        return max(1, int(box[1])), max(1, int(box[2]))
    wide = box or _WIDTH_IN_ADDRESS.search(address)
    high = None if box else _HEIGHT_IN_ADDRESS.search(address)
    return _by_sides(_number(wide), _number(high))


def _number(found: re.Match[str] | None) -> int:
    return max(1, int(next(filter(None, found.groups())))) if found else 0


def _by_sides(width: int, height: int) -> Size | None:
    """Give a size by the sides that are known; the other one as of a photograph that lies."""
    if not width and not height:
        return None
    return (
        width or max(1, round(height / _PHOTOGRAPH)),
        height or max(1, round(width * _PHOTOGRAPH)),
    )


def size_of(head: bytes) -> Size | None:
    """Give ``(width, height)`` in pixels of a PNG, GIF, WebP or JPEG by its first bytes."""
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _pair(">II", head, 16)
        if head.startswith(b"GIF8"):
            return _pair("<HH", head, 6)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp(head)
        return _jpeg(head) if head.startswith(b"\xff\xd8") else None
    except (struct.error, IndexError):
        return None


def _pair(layout: str, head: bytes, offset: int) -> Size:
    first, second = struct.unpack_from(layout, head, offset)
    return int(first), int(second)


def _webp(head: bytes) -> Size | None:
    match head[12:16]:
        case b"VP8X":
            return (
                1 + int.from_bytes(head[24:27], "little"),
                1 + int.from_bytes(head[27:30], "little"),
            )
        case b"VP8 ":
            width, height = _pair("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            packed = int.from_bytes(head[21:25], "little")
            return (packed & 0x3FFF) + 1, ((packed >> 14) & 0x3FFF) + 1
    return None


def _jpeg(head: bytes) -> Size | None:
    """Walk a JPEG's segments to its frame header (ISO 10918-1, annex B)."""
    at = 2
    while at + 9 < len(head):
        marker = head[at + 1]
        if head[at] != _MARKER:
            at += 1
        elif marker in _FRAMES:
            height, width = _pair(">HH", head, at + 5)
            return width, height
        elif marker == _MARKER:
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(head[at + 2 : at + 4], "big"))
    return None
