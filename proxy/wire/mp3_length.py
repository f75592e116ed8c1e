"""How long an MP3 is: the frames that its first frame announces, else its size at its bit rate.

Encoders begin and end with some silence, which decoders leave out; LAME's tag says how much
(Mp3 Info Tag, revision 1).
"""

import struct
from typing import Final

from proxy.core.times import SECOND_US
from proxy.wire.multipart import Sample

_ID3_BYTES: Final = 10
_ID3V1_BYTES: Final = 128
_KILOBITS: Final = {
    # (MPEG 1, layer): kbit/s by index; MPEG 2 and 2.5 share theirs.
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES: Final = (44_100, 48_000, 32_000)
_ENCODERS: Final = (b"LAME", b"Lavc", b"Lavf", b"L3.9")
"""Whose tags say so, as FFmpeg has it."""
_OPTIONAL_BYTES: Final = (4, 4, 100, 4)
"""Before the tag, if their bits are set: number of frames, of bytes, table of contents, quality."""
_SILENCE_AT: Final = 21
_MPEG_1: Final = 3
_MPEG_25: Final = 0
_RESERVED: Final = 1


def mp3_length_us(file: Sample) -> int | None:
    """Return the length in microseconds; None where no frame is found."""
    head = file.head
    start = 0
    if head.startswith(b"ID3"):  # its size is in four times seven bits (ID3v2, section 3.1)
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start = _ID3_BYTES + size
    # A tag with a picture may be longer than what is kept of the beginning.
    if start >= len(head):
        tail_at = file.size - len(file.tail)
        head, offset = (file.tail, tail_at) if start >= tail_at else (b"", 0)
        frame_at = _frame_at(head, start - offset) if head else None
    else:
        offset, frame_at = 0, _frame_at(head, start)
    if frame_at is None:
        return None
    end = _ID3V1_BYTES if file.tail[-_ID3V1_BYTES:].startswith(b"TAG") else 0
    return _by_frame(head[frame_at:], file.size - end - offset - frame_at)


def _frame_at(head: bytes, start: int) -> int | None:
    """Find the first frame: a header whose next frame is where it says, if that is kept."""
    at = head.find(b"\xff", start)
    while 0 <= at <= len(head) - 4:
        size = _frame_bytes(head[at : at + 4])
        if size and (at + size + 2 > len(head) or head[at + size] == 0xFF):
            return at
        at = head.find(b"\xff", at + 1)
    return None


def _fields(header: bytes) -> tuple[int, int, int, int] | None:
    """Return (version bits, layer, bits a second, samples a second) of a frame's header."""
    version, layer_bits = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate_at, rate_at = header[2] >> 4, header[2] >> 2 & 3
    if header[1] & 0xE0 != 0xE0 or version == _RESERVED or not layer_bits:
        return None
    if bit_rate_at in {0, 15} or rate_at == len(_RATES):
        return None
    layer = 4 - layer_bits
    kilobits = _KILOBITS[version == _MPEG_1, layer][bit_rate_at]
    divisor = {_MPEG_1: 1, _MPEG_25: 4}.get(version, 2)
    return version, layer, kilobits * 1000, _RATES[rate_at] // divisor


def _samples(version: int, layer: int) -> int:
    """Return the samples of a frame of layer 2 or 3."""
    return 576 if layer == 3 and version != _MPEG_1 else 1152


def _frame_bytes(header: bytes) -> int:
    """Return a frame's size; 0 if this is no header."""
    fields = _fields(header)
    if fields is None:
        return 0
    version, layer, bits, rate = fields
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    return _samples(version, layer) // 8 * bits // rate + padding


def _by_frame(frame: bytes, size: int) -> int:
    fields = _fields(frame)
    assert fields is not None  # noqa: S101 - it was found by them
    version, layer, bits, rate = fields
    count = _announced_frames(frame)
    if count:
        samples = count * _samples(version, layer) - _silent_samples(frame)
        return round(samples * SECOND_US / rate)
    return round(size * 8 * SECOND_US / bits)


def _announced_frames(frame: bytes) -> int:
    """Read the number of frames that a header of Xing's or Fraunhofer's gives; 0 if none does."""
    at = _info_at(frame)
    if at >= 0 and frame[at + 7] & 1:
        return int(struct.unpack_from(">I", frame, at + 8)[0])
    if frame[36:40] == b"VBRI":
        return int(struct.unpack_from(">I", frame, 36 + 14)[0])
    return 0


def _silent_samples(frame: bytes) -> int:
    """Read how many samples the encoder put before and after the sound."""
    at = _info_at(frame)
    if at < 0:
        return 0
    flags = frame[at + 7]
    tag = at + 8 + sum(size for bit, size in enumerate(_OPTIONAL_BYTES) if flags >> bit & 1)
    if not frame.startswith(_ENCODERS, tag):
        return 0
    both = int.from_bytes(frame[tag + _SILENCE_AT : tag + _SILENCE_AT + 3], "big")
    return (both >> 12) + (both & 0xFFF)


def _info_at(frame: bytes) -> int:
    """Find what Xing's header begins with; -1 if there is none."""
    found = (frame.find(mark, 4, 64) for mark in (b"Xing", b"Info"))
    return next((at for at in found if at >= 0), -1)
