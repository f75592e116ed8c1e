"""How long a WebM or Matroska file is: what its header says, else its last block's time.

Recorders that stream (a browser's) can't write the length ahead; their last cluster's time and
that of the last block in it tell it, but for the length of that block. Source: RFC 9559.
"""

import struct
from typing import Final

_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_CLUSTER: Final = 0x1F43B675
_TIMESTAMP_SCALE: Final = 0x2AD7B1
_DURATION: Final = 0x4489
_TIMESTAMP: Final = 0xE7
_SIMPLE_BLOCK: Final = 0xA3
_BLOCK_GROUP: Final = 0xA0
_BLOCK: Final = 0xA1
_DEFAULT_SCALE_NS: Final = 1_000_000
_NS_PER_US: Final = 1000


def length_us(head: bytes, tail: bytes) -> int | None:
    """Return the length in microseconds; ``head`` and ``tail`` are a file's two ends."""
    scale_ns, duration = _info(head)
    if duration is None:
        duration = _last_block(tail)
    return None if duration is None else round(duration * scale_ns / _NS_PER_US)


def _info(head: bytes) -> tuple[int, float | None]:
    """Read the segment's information: the scale of times, and the duration if it is there."""
    at, end = 0, len(head)
    scale_ns, duration = _DEFAULT_SCALE_NS, None
    while at < end:
        number, content, size = _element(head, at)
        if number in {_SEGMENT, _INFO}:
            at = content  # what is in them comes next
            continue
        if number == _CLUSTER or size is None:
            break
        value = head[content : content + size]
        if number == _TIMESTAMP_SCALE:
            scale_ns = int.from_bytes(value, "big")
        elif number == _DURATION:
            duration = struct.unpack(">f" if size == 4 else ">d", value)[0]
            break
        at = content + size
    return scale_ns, duration if duration and duration > 0 else None


def _last_block(tail: bytes) -> float | None:
    """Find the last cluster, and the latest time in it."""
    at = tail.rfind(_CLUSTER.to_bytes(4, "big"))
    if at < 0:
        return None
    _, at, _ = _element(tail, at)
    begin, latest = 0, 0
    while at < len(tail):
        try:
            number, content, size = _element(tail, at)
        except IndexError:
            break
        if size is None:
            break
        if number == _TIMESTAMP:
            begin = int.from_bytes(tail[content : content + size], "big")
        elif number == _BLOCK_GROUP:
            at = content
            continue
        elif number in {_SIMPLE_BLOCK, _BLOCK} and content + 3 <= len(tail):
            relative = content + _width(tail[content])
            latest = max(latest, int.from_bytes(tail[relative : relative + 2], "big", signed=True))
        at = content + size
    return float(begin + latest) if begin + latest > 0 else None


def _width(first: int) -> int:
    """Return how many bytes a number has, by its first one."""
    return 9 - first.bit_length()


def _element(data: bytes, at: int) -> tuple[int, int, int | None]:
    """Return (id, where the content begins, its size; None: unknown) of the element at ``at``."""
    id_width = _width(data[at])
    number = int.from_bytes(data[at : at + id_width], "big")
    at += id_width
    width = _width(data[at])
    size = int.from_bytes(data[at : at + width], "big") & (1 << 7 * width) - 1
    unknown = size == (1 << 7 * width) - 1
    return number, at + width, None if unknown else size
