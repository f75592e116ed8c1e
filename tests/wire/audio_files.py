"""Audio files made by hand: headers that say how long they are, and no sound worth hearing."""

import struct


def wav(
    seconds: float, rate: int = 16_000, *, told: int | None = None, extra: bytes = b""
) -> bytes:
    data = bytes(2 * round(seconds * rate))
    size = len(data) if told is None else told
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + form + extra + struct.pack("<4sI", b"data", size) + data
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


def flac(samples: int, rate: int = 44_100) -> bytes:
    packed = rate << 44 | 1 << 41 | 15 << 36 | samples
    info = bytes(10) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + b"\x80" + len(info).to_bytes(3, "big") + info + bytes(500)


def ogg_page(granule: int, packet: bytes) -> bytes:
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    head = struct.pack("<4sBBqIII", b"OggS", 0, 0, granule, 1, 0, 0)
    return head + bytes([len(lacing)]) + lacing + packet


def opus(seconds: float, skip: int = 312) -> bytes:
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, skip, 48_000, 0, 0)
    middle = ogg_page(-1, bytes(100))
    return ogg_page(0, head) + middle + ogg_page(round(seconds * 48_000) + skip, bytes(90))


def vorbis(seconds: float, rate: int = 22_050) -> bytes:
    head = b"\x01vorbis" + struct.pack("<IBI", 0, 1, rate) + bytes(13)
    return ogg_page(0, head) + ogg_page(round(seconds * rate), bytes(90))


def ogg_flac(seconds: float, rate: int = 48_000) -> bytes:
    head = b"\x7fFLAC\x01\x00\x00\x01" + flac(0, rate)[:42]
    return ogg_page(0, head) + ogg_page(round(seconds * rate), bytes(90))


def box(name: bytes, content: bytes, *, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, name, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), name) + content


def mp4(
    seconds: float,
    *,
    last: bool = False,
    version: int = 0,
    sound: int = 1000,
    long: bool = False,
    fragments: float | None = None,
) -> bytes:
    duration = round(seconds * 1000)
    times = struct.pack(">QQIQ" if version else ">IIII", 0, 0, 1000, duration)
    movie = box(b"mvhd", bytes([version, 0, 0, 0]) + times + bytes(80))
    if fragments is not None:
        extends = box(b"mehd", bytes(4) + struct.pack(">I", round(fragments * 1000)))
        movie += box(b"mvex", extends)
    parts = [box(b"moov", movie), box(b"mdat", bytes(sound), long=long)]
    return box(b"ftyp", b"M4A \x00\x00\x00\x00") + b"".join(reversed(parts) if last else parts)


def mp3_frame(header: int = 0xFFFB9064, content: bytes = b"") -> bytes:
    """A frame of MPEG 1, layer 3, at 128 kbit/s and 44,100 Hz: 417 bytes, unless told otherwise."""
    frame = header.to_bytes(4, "big") + content
    return frame + bytes(417 - len(frame))


def mp3(frames: int, *, first: bytes = b"", before: bytes = b"", after: bytes = b"") -> bytes:
    return before + first + mp3_frame() * frames + after


def xing(frames: int, mark: bytes = b"Xing") -> bytes:
    return mp3_frame(content=bytes(32) + mark + struct.pack(">II", 1, frames))


def lame(
    frames: int, before: int, after: int, *, flags: int = 15, encoder: bytes = b"LAME3.100"
) -> bytes:
    optional = bytes(sum(n for bit, n in enumerate((4, 100, 4), 1) if flags >> bit & 1))
    head = b"Info" + struct.pack(">II", flags, frames) + optional
    silence = (before << 12 | after).to_bytes(3, "big")
    return mp3_frame(content=bytes(32) + head + encoder + bytes(12) + silence)


def vbri(frames: int) -> bytes:
    return mp3_frame(content=bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", frames))


def id3(size: int) -> bytes:
    octets = [size >> shift & 0x7F for shift in (21, 14, 7, 0)]
    return b"ID3\x04\x00\x00" + bytes(octets) + b"\xff\xe0" + bytes(size - 2)


def element(number: int, content: bytes, *, unknown: bool = False) -> bytes:
    name = number.to_bytes((number.bit_length() + 7) // 8, "big")
    size = (
        b"\x01\xff\xff\xff\xff\xff\xff\xff"
        if unknown
        else ((1 << 56) | len(content)).to_bytes(8, "big")
    )
    return name + size + content


def webm(*, seconds: float | None = None, blocks: tuple[tuple[int, int], ...] = ()) -> bytes:
    """With or without a duration in its header, and clusters of a block: (its ms, the block's)."""
    info = element(0x2AD7B1, (1_000_000).to_bytes(3, "big"))
    if seconds is not None:
        info += element(0x4489, struct.pack(">d", seconds * 1000))
    clusters = b"".join(
        element(
            0x1F43B675,
            element(0xE7, begin.to_bytes(4, "big"))
            + element(0xA3, b"\x81" + relative.to_bytes(2, "big") + b"\x80" + bytes(30))
            + element(0xA0, element(0xA1, b"\x81" + (relative // 2).to_bytes(2, "big") + bytes(9))),
            unknown=True,
        )
        for begin, relative in blocks
    )
    header = element(0x1A45DFA3, b"\x42\x86\x81\x01")
    return header + element(0x18538067, element(0x1549A966, info) + clusters, unknown=True)
