"""Frames: every length, mask, fragment and cut; what is passed over, and what is no frame."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.websocket_frames import (
    BINARY,
    CLOSE,
    TEXT,
    FrameReader,
    Message,
    write_close,
    write_frame,
)

PING, CONTINUATION = 0x9, 0x0
KEY = b"\x01\x9f\x33\x70"


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    key: bytes = b"",
    size: int | None = None,
    reserved: int = 0,
) -> bytes:
    """Write a frame, with its length in as many bytes as wanted."""
    length = len(payload)
    size = size if size is not None else 0 if length < 126 else 2 if length < 1 << 16 else 8
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    head += bytes([(0x80 if key else 0) | {0: length, 2: 126, 8: 127}[size]])
    head += length.to_bytes(size) if size else b""
    if key:
        payload = bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))
    return head + key + payload


def read(pieces: Iterable[bytes], reader: FrameReader | None = None) -> list[bytes | None]:
    reader = reader or FrameReader()
    return [message.data for piece in pieces for message in reader.feed(piece)]


def idle(reader: FrameReader) -> bool:
    return reader.idle


FRAGMENTED = (
    frame(b"Hel", fin=False)
    + frame(b"ping", PING)
    + frame(b"", CONTINUATION, fin=False)
    + frame(b"lo", CONTINUATION)
)
STREAM = (
    frame(b"one")
    + frame(b"", size=0)
    + FRAGMENTED
    + frame(b"not read", BINARY)
    + frame(b"a" * 200, size=2, key=KEY)
    + frame(b"b" * 300, size=8)
    + frame(b"\x03\xe8", CLOSE)
)
MESSAGES = [b"one", b"", b"Hello", b"a" * 200, b"b" * 300]


@pytest.mark.parametrize("size", range(1, 40))
def test_pieces_of_any_size(size: int) -> None:
    reader = FrameReader()
    assert read([STREAM[at : at + size] for at in range(0, len(STREAM), size)], reader) == MESSAGES
    assert reader.idle
    assert not reader.unread


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_cut_at_every_byte(cut: int) -> None:
    assert read([STREAM[:cut], STREAM[cut:]]) == MESSAGES


def test_where_a_message_becomes_whole() -> None:
    reader = FrameReader()
    first, last = frame(b"ab", fin=False), frame(b"cd", CONTINUATION)
    assert reader.feed(first) == []
    assert not idle(reader)
    ping = frame(b"", PING)
    assert reader.feed(ping + last + ping) == [Message(2, 6, b"abcd")]
    assert idle(reader)
    assert reader.feed(last[:1]) == []
    assert not idle(reader)
    begun = frame(b"abc")
    reader = FrameReader()
    assert reader.feed(begun[:4]) == []
    assert reader.feed(begun[4:] + frame(b"d")) == [Message(0, 1, b"abc"), Message(1, 4, b"d")]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("key", [b"", KEY])
def test_lengths(length: int, key: bytes) -> None:
    payload = bytes(n % 251 for n in range(length))
    data = frame(payload, key=key)
    assert read([data]) == [payload]
    assert read([data[:7], data[7:]]) == [payload]
    if not key:
        assert write_frame(TEXT, payload) == data


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.sampled_from([b"", KEY])), max_size=6),
    st.lists(st.integers(1, 500), min_size=1, max_size=20),
    st.integers(1, 9),
)
def test_any_messages_in_any_pieces(
    messages: list[tuple[bytes, bytes]], sizes: list[int], fragment: int
) -> None:
    data = b""
    for payload, key in messages:
        parts = [payload[at : at + fragment] for at in range(0, len(payload), fragment)] or [b""]
        for n, part in enumerate(parts):
            opcode = CONTINUATION if n else TEXT
            data += frame(part, opcode, fin=n == len(parts) - 1, key=key) + frame(b"?", PING)
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    assert read(pieces) == [payload for payload, _ in messages]


@given(st.lists(st.binary(max_size=40)))
def test_whatever_comes_nothing_raises(pieces: list[bytes]) -> None:
    reader = FrameReader(longest=20)
    for piece in pieces:
        for message in reader.feed(piece):
            assert 0 <= message.start <= message.end <= len(piece)
            assert message.data is None or len(message.data) <= 20


def test_too_long_a_message_is_passed_over() -> None:
    reader = FrameReader(longest=5)
    data = frame(b"abc", fin=False) + frame(b"def", CONTINUATION, fin=False)
    data += frame(b"ghi", CONTINUATION)
    assert read([data, frame(b"abcdef"), frame(b"abcde")], reader) == [None, None, b"abcde"]
    assert reader.unread == 2


def test_a_compressed_message_is_passed_over() -> None:
    reader = FrameReader()
    assert read([frame(b"x", reserved=0x40), frame(b"y")], reader) == [None, b"y"]
    assert reader.unread == 1


def test_the_kinds_that_are_asked_for() -> None:
    reader = FrameReader(frozenset({TEXT, BINARY}))
    assert read([frame(b"x", BINARY), frame(b"y")], reader) == [b"x", b"y"]


@pytest.mark.parametrize(
    "data",
    [
        frame(b"", 0x3),
        frame(b"", PING, fin=False),
        frame(b"a" * 126, PING),
        frame(b"", CONTINUATION),
        frame(b"a", fin=False) + frame(b"b"),
        b"\x81\x7f" + b"\xff" * 8,
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_no_frames(data: bytes) -> None:
    reader = FrameReader()
    assert read([data, frame(b"x")], reader) == []
    assert reader.lost
    assert not reader.idle


def test_where_the_close_frame_is() -> None:
    reader = FrameReader()
    reader.feed(frame(b"x"))
    assert reader.closing is None
    reader.feed(frame(b"y") + frame(b"", CLOSE) + frame(b"", CLOSE))
    assert reader.closing == 3


def test_a_close_frame_keeps_to_its_bounds() -> None:
    assert write_close(1008, "no") == frame(b"\x03\xf0no", CLOSE)
    long = write_close(1008, "é" * 200)
    assert len(long) == 2 + 2 + 122
    assert long[4:].decode() == "é" * 61


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4), st.integers(1, 9))
def test_what_is_written_masked_is_read(payload: bytes, key: bytes, size: int) -> None:
    sent = write_frame(BINARY, payload, key)
    assert sent[1] & 0x80
    reader = FrameReader(frozenset({BINARY}))
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    found = [message for piece in pieces for message in reader.feed(piece)]
    assert [(message.data, message.kind) for message in found] == [(payload, BINARY)]


def test_a_long_masked_frame() -> None:
    payload = bytes(70_000)
    assert read([write_frame(TEXT, payload, KEY)]) == [payload]


def test_control_frames_are_collected_where_they_are_wanted() -> None:
    reader = FrameReader(frozenset({TEXT, PING}))
    sent = frame(b"ab", fin=False) + frame(b"ping", PING, key=KEY) + frame(b"c", CONTINUATION)
    pieces = [sent[at : at + 1] for at in range(len(sent))]
    found = [message for piece in pieces for message in reader.feed(piece)]
    assert [(message.data, message.kind) for message in found] == [(b"ping", PING), (b"abc", TEXT)]
    assert reader.feed(write_close(1000, "")) == []
