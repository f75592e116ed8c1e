"""How long an audio file is, from its headers: nothing is decoded.

``length_us`` takes the beginning and the end of a file, and gives microseconds, or None where
they do not tell. Sources: RIFF/WAVE, RFC 9639 (FLAC), RFC 3533 and 7845 (Ogg, Opus), ISO 11172-3
with the Xing, Info and VBRI headers (MP3), ISO 14496-12 (MP4), RFC 9559 (Matroska, WebM).
"""

import struct
from collections.abc import Callable
from typing import Final

from proxy.core.times import SECOND_US
from proxy.wire import matroska
from proxy.wire.mp3_length import mp3_length_us
from proxy.wire.multipart import Sample

LONGEST_US: Final = 31 * 86_400 * SECOND_US
"""A header that says more than a month is mistaken, or means to mislead."""

_UNKNOWN_U32: Final = 0xFFFF_FFFF
_OPUS_RATE: Final = 48_000


def length_us(file: Sample) -> int | None:
    """Return how long an audio file is, in microseconds; None if it can't be told."""
    try:
        found = _length_us(file)
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    return found if found is not None and 0 < found <= LONGEST_US else None


def _length_us(file: Sample) -> int | None:
    head = file.head
    for mark, at, read in _FORMATS:
        if head.startswith(mark, at):
            return read(file)
    if head[:1] == b"\xff" and head[1] & 0xE0 == 0xE0:
        return mp3_length_us(file)
    return None


def _scaled(number: int, rate: int) -> int:
    return round(number * SECOND_US / rate)


def _wav(file: Sample) -> int | None:
    """The data's bytes over the bytes a second; a stream's header knows no size."""
    head, at, rate = file.head, 12, 0
    long_size = 0
    while at + 8 <= len(head):
        name, size = head[at : at + 4], struct.unpack_from("<I", head, at + 4)[0]
        if name == b"ds64":
            long_size = struct.unpack_from("<Q", head, at + 16)[0]
        elif name == b"fmt ":
            rate = struct.unpack_from("<I", head, at + 16)[0]
        elif name == b"data":
            there = file.size - (at + 8)
            told = long_size if size == _UNKNOWN_U32 and long_size else size
            return _scaled(min(told, there) if 0 < told < _UNKNOWN_U32 else there, rate)
        at += 8 + size + (size & 1)
    return None


def _flac(file: Sample) -> int | None:
    """STREAMINFO comes first: 20 bits of sample rate, 36 bits of samples (0: unknown)."""
    packed = int.from_bytes(file.head[8 + 10 : 8 + 18], "big")
    rate, samples = packed >> 44, packed & (1 << 36) - 1
    return _scaled(samples, rate) if samples else None


def _ogg(file: Sample) -> int | None:
    """The granule position of the last page, at the codec's rate."""
    head = file.head
    packet = head[27 + head[26] :]
    if packet.startswith(b"OpusHead"):
        rate, skipped = _OPUS_RATE, struct.unpack_from("<H", packet, 10)[0]
    elif packet.startswith(b"\x01vorbis"):
        rate, skipped = struct.unpack_from("<I", packet, 12)[0], 0
    elif packet.startswith(b"\x7fFLAC"):
        rate, skipped = int.from_bytes(packet[13 + 4 + 10 : 13 + 4 + 13], "big") >> 4, 0
    else:
        return None
    at = file.tail.rfind(b"OggS")
    while at >= 0:
        (granule,) = struct.unpack_from("<q", file.tail, at + 6)
        if granule > 0:
            return _scaled(granule - skipped, rate)
        at = file.tail.rfind(b"OggS", 0, at)
    return None


def _mp4(file: Sample) -> int | None:
    """The movie's duration: its box is before the data, or after it at the file's end."""
    at = 0
    while at + 8 <= file.size:
        box = _window(file, at)
        size, name = struct.unpack_from(">I4s", box)
        content = 8
        if size == 1:
            size, content = struct.unpack_from(">Q", box, 8)[0], 16
        if name == b"moov":
            return _movie(box[content:])
        if size < content:
            return None
        at += size
    return None


def _window(file: Sample, at: int) -> bytes:
    """Return what is kept of a file from ``at`` on; ``struct.error`` in the reader if nothing."""
    tail_at = file.size - len(file.tail)
    if at >= tail_at:
        return file.tail[at - tail_at :]
    return file.head[at:]


def _movie(boxes: bytes) -> int | None:
    """``mvhd`` comes first; in a fragmented file its duration is 0, and ``mehd`` may have it."""
    size, name = struct.unpack_from(">I4s", boxes)
    if name != b"mvhd":
        return None
    if boxes[8] == 1:
        scale, duration = struct.unpack_from(">IQ", boxes, 12 + 16)
    else:
        scale, duration = struct.unpack_from(">II", boxes, 12 + 8)
    if duration in {0, _UNKNOWN_U32}:
        at = boxes.find(b"mehd", size)
        if at < 0:
            return None
        duration = struct.unpack_from(">Q" if boxes[at + 4] == 1 else ">I", boxes, at + 8)[0]
    return _scaled(duration, scale)


def _webm(file: Sample) -> int | None:
    return matroska.length_us(file.head, file.tail)


_FORMATS: Final[tuple[tuple[bytes, int, Callable[[Sample], int | None]], ...]] = (
    (b"RIFF", 0, _wav),
    (b"RF64", 0, _wav),
    (b"fLaC", 0, _flac),
    (b"OggS", 0, _ogg),
    (b"ftyp", 4, _mp4),
    (b"\x1aE\xdf\xa3", 0, _webm),
    (b"ID3", 0, mp3_length_us),
)
"""How files of a format begin, where that stands, and what reads them."""
