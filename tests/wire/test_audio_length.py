"""How long audio is, by its headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.audio_length import LONGEST_US, length_us
from proxy.wire.multipart import HEAD_BYTES, TAIL_BYTES, Sample
from tests.wire import audio_files as made

FRAME_US = 1152 * 1_000_000 / 44_100


def seconds(content: bytes) -> float | None:
    found = length_us(Sample.of(content))
    return None if found is None else found / 1_000_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (made.wav(2.5), 2.5),
        (made.wav(3, extra=b"LIST\x05\x00\x00\x00abcde\x00"), 3.0),
        (made.wav(1.5, told=0xFFFFFFFF), 1.5),  # streamed: its size was not known ahead
        (made.wav(1.5, told=0), 1.5),
        (made.wav(1.5, told=1 << 30), 1.5),  # more than is there
        (made.wav(2, told=0xFFFFFFFF, extra=b"ds64" + (28).to_bytes(4, "little") + bytes(8)
                  + (32_000).to_bytes(8, "little") + bytes(12)), 1.0),
        (made.flac(441_000), 10.0),
        (made.flac(0), None),
        (made.opus(7.25), 7.25),
        (made.vorbis(4), 4.0),
        (made.ogg_flac(6), 6.0),
        (made.ogg_page(0, b"Speex   ") + made.ogg_page(100, b""), None),
        (made.ogg_page(0, b"OpusHead" + bytes(11)), None),
        (made.mp4(12.5), 12.5),
        (made.mp4(12.5, version=1), 12.5),
        (made.mp4(12.5, last=True), 12.5),
        (made.mp4(12.5, last=True, sound=HEAD_BYTES * 3), 12.5),
        (made.mp4(12.5, last=True, sound=HEAD_BYTES + TAIL_BYTES * 2, long=True), 12.5),
        (made.mp4(0), None),
        (made.mp4(0, fragments=8.5), 8.5),
        (made.box(b"ftyp", b"M4A "), None),
        (made.box(b"ftyp", b"M4A ") + made.box(b"moov", made.box(b"trak", b"")), None),
        (made.box(b"ftyp", b"M4A ") + bytes(4) + b"mdat" + bytes(9), None),
        (made.webm(seconds=5.5), 5.5),
        (made.webm(blocks=((0, 900), (1000, 480))), 1.48),
        (made.webm(), None),
        (made.webm(blocks=((0, 0),)), None),
        (made.webm(blocks=((0, 900),)) + made.element(0xEC, b"void"), 0.9),
        (made.webm(blocks=((0, 900), (1000, 480))) + b"\xa3", 1.48),
        (made.webm(blocks=((0, 900),)) + made.element(0xA3, b"", unknown=True), 0.9),
        (b"", None),
        (b"not audio at all", None),
        (b"\xff", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
    ],
)  # fmt: skip
def test_length(content: bytes, expected: float | None) -> None:
    assert seconds(content) == expected


@pytest.mark.parametrize("flags", [1, 3, 5, 7, 9, 15])
@pytest.mark.parametrize("encoder", [b"LAME3.100", b"Lavc60.31", b"L3.99r1\0\0"])
def test_the_silence_around_an_mp3_is_no_part_of_it(flags: int, encoder: bytes) -> None:
    first = made.lame(100, 576, 1_304, flags=flags, encoder=encoder)
    samples = 100 * 1152 - 576 - 1_304
    assert length_us(Sample.of(made.mp3(9, first=first))) == round(samples * 1e6 / 44_100)


def test_another_encoders_tag_says_nothing_of_silence() -> None:
    first = made.lame(100, 576, 1_304, encoder=b"GOGO3.100")
    assert length_us(Sample.of(made.mp3(9, first=first))) == round(100 * 1152 * 1e6 / 44_100)


def test_an_mp3_of_silence_alone_has_no_length() -> None:
    assert seconds(made.mp3(1, first=made.lame(1, 1_000, 1_000))) is None


@pytest.mark.parametrize(
    ("content", "frames"),
    [
        (made.mp3(100), 100),
        (made.mp3(3, first=made.xing(1000)), 1000),
        (made.mp3(3, first=made.xing(50, b"Info")), 50),
        (made.mp3(3, first=made.vbri(70)), 70),
        (made.mp3(100, before=made.id3(1000)), 100),
        (made.mp3(100, before=made.id3(HEAD_BYTES + 10)), 100),
        (made.mp3(100, after=b"TAG" + bytes(125)), 100),
    ],
)
def test_length_of_mp3(content: bytes, frames: int) -> None:
    found = length_us(Sample.of(content))
    assert found is not None
    assert found == pytest.approx(frames * FRAME_US, rel=0.003)


@pytest.mark.parametrize(
    ("header", "rate_bytes_a_second"),
    [
        (0xFFFB9064, 16_000),  # MPEG 1, layer 3, 128 kbit/s
        (0xFFF38064, 8_000),  # MPEG 2, layer 3, 64 kbit/s
        (0xFFE38064, 8_000),  # MPEG 2.5
        (0xFFFD8064, 16_000),  # MPEG 1, layer 2, 128 kbit/s
        (0xFFFF8064, 32_000),  # MPEG 1, layer 1, 256 kbit/s
    ],
)
def test_length_by_bit_rate(header: int, rate_bytes_a_second: int) -> None:
    content = header.to_bytes(4, "big") + b"\xff" * 20_000
    assert seconds(content) == pytest.approx(len(content) / rate_bytes_a_second, abs=1e-5)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfb\x00\x64" * 9,  # free bit rate
        b"\xff\xfb\x9c\x64" * 9,  # reserved sample rate
        b"\xff\xeb\x90\x64" * 9,  # reserved version
        b"\xff\xf9\x90\x64" * 9,  # reserved layer
        b"ID3\x04\x00\x00\x00\x7f\x7f\x7f" + bytes(50),
        made.id3(HEAD_BYTES + 5) + b"\xff",
    ],
)
def test_no_frame_is_no_mp3(content: bytes) -> None:
    assert seconds(content) is None


def test_a_tag_beyond_what_is_kept_leaves_it_unknown() -> None:
    content = made.mp3(5000, before=made.id3(HEAD_BYTES + 10))
    assert len(content) - TAIL_BYTES > HEAD_BYTES + 10
    assert seconds(content) is None


def test_a_header_that_says_years_is_not_believed() -> None:
    assert seconds(made.flac((1 << 36) - 1, 1)) is None
    assert seconds(made.mp4(LONGEST_US / 1_000_000)) == LONGEST_US / 1_000_000


MADE = [
    made.wav(0.1), made.flac(441), made.opus(1), made.vorbis(1), made.mp4(1), made.mp3(3),
    made.mp3(1, first=made.xing(3)), made.mp3(1, first=made.lame(3, 9, 9)),
    made.webm(seconds=1), made.webm(blocks=((0, 9),)),
]  # fmt: skip


@given(st.sampled_from(MADE), st.data())
def test_broken_files_never_raise(content: bytes, data: st.DataObject) -> None:
    broken = bytearray(content[: data.draw(st.integers(0, min(len(content), 400)))])
    for _ in range(data.draw(st.integers(0, 5)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    found = length_us(Sample.of(bytes(broken)))
    assert found is None or 0 < found <= LONGEST_US


@given(st.binary(max_size=200))
def test_any_bytes_never_raise(content: bytes) -> None:
    length_us(Sample.of(content))
