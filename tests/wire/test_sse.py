"""Frames: every byte kept, cut where the standard says, wherever the network cuts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import sse
from proxy.wire.sse import FrameSplitter, payload
from tests.wire.streams import cut, halves

fragments = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data: ",
            b"data:",
            b"data",
            b"event: done",
            b": note",
            b"id: 1",
            b"{}",
            b" ",
            b"\x00\xff",
        ]
    ),
    max_size=40,
)
places = st.lists(st.integers(0, 1 << 16), max_size=12)


def frames_of(pieces: list[bytes]) -> list[bytes]:
    splitter = FrameSplitter()
    frames = [frame for piece in pieces for frame in splitter.feed(piece)]
    return [*frames, splitter.flush()]


def events_of(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    events = [payload(frame) for frame in frames_of(pieces)]
    return [(name, data) for name, data in events if data]


def by_the_standard(body: bytes) -> list[tuple[bytes, bytes]]:
    """Read a whole stream line by line, as HTML's section 9.2.6 does; a last event may be cut."""
    events: list[tuple[bytes, bytes]] = []
    name = b""
    data: list[bytes] = []
    for line in [*re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if b"\n".join(data):
                events.append((name, b"\n".join(data)))
            name, data = b"", []
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return events


@given(body=fragments, at=places, mark=st.booleans())
def test_events_are_the_standards_at_any_cut(body: list[bytes], at: list[int], mark: bool) -> None:
    stream = b"\xef\xbb\xbf" * mark + b"".join(body)
    pieces = cut(stream, at)
    assert b"".join(frames_of(pieces)) == stream
    assert events_of(pieces) == by_the_standard(stream)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [b"", b"data: cut", b": bye"])
def test_every_cut_gives_the_same_events(end: bytes, last: bytes) -> None:
    lines = [b"\xef\xbb\xbf: hi", b"", b"data: a", b"data:b", b"data", b"", b"event: e", b"id: 7"]
    lines += [b"data: {}", b"", b"", b"retry: 3", b"", b"event: e", b"", b"data:  x", b"", b""]
    body = end.join(lines) + last
    expected = [(b"", b"a\nb\n"), (b"e", b"{}"), (b"", b" x")]
    expected += [(b"", b"cut")] * (last == b"data: cut")
    for pieces in [[body], *halves(body), [bytes([byte]) for byte in body]]:
        assert events_of(pieces) == expected


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (b"data: a\n\n", [b"data: a\n\n"]),
        (b"data: a\n\ndata: b\r\n\r\n", [b"data: a\n\n", b"data: b\r\n\r\n"]),
        (b"data: a\r\rdata: b\n\r\n", [b"data: a\r\r", b"data: b\n\r\n"]),
        (b"data: a\n\rdata: b\r\n\n", [b"data: a\n\r", b"data: b\r\n\n"]),
        (b"data: a\r\n\rdata: b\r\n\r", [b"data: a\r\n\r"]),
        (b"\n\n\n\n", [b"\n\n", b"\n\n"]),
        (b"", []),
        (b"data: a\n", []),
    ],
)
def test_where_frames_end(body: bytes, frames: list[bytes]) -> None:
    for pieces in [[body], [bytes([byte]) for byte in body]]:
        found = frames_of(pieces)
        assert [frame for frame in found[:-1] if frame] == frames
        assert b"".join(found) == body


def test_a_frame_is_given_as_soon_as_it_is_whole() -> None:
    splitter = FrameSplitter()
    assert splitter.feed(b"data: a") == []
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"\ndata: b\n\nda") == [b"data: a\n\n", b"data: b\n\n"]
    assert splitter.feed(b"ta: c\n\n") == [b"data: c\n\n"]
    assert splitter.flush() == b""


def test_a_frame_over_the_bound_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME_BYTES", 100)
    splitter = FrameSplitter()
    huge = b"data: " + b"x" * 500
    given_out = []
    for piece in cut(huge + b"\n\ndata: a\n\n", list(range(0, 600, 30))):
        given_out += splitter.feed(piece)
        assert splitter._size <= 100
    assert b"".join(given_out) == huge + b"\n\ndata: a\n\n"
    assert given_out[-1] == b"data: a\n\n"
    assert splitter.feed(b"data: " + b"y" * 200) == [b"data: " + b"y" * 200]
    assert splitter.flush() == b""


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"data: {}\n\n", (b"", b"{}")),
        (b"data: {}\r\n\r\n", (b"", b"{}")),
        (b"data: {}\r\r", (b"", b"{}")),
        (b"data: a\rdata: b\n\n", (b"", b"a\nb")),
        (b"data: a", (b"", b"a")),
        (b"data:\n\n", (b"", b"")),
        (b"data: \n\n", (b"", b"")),
        (b": {}\n\n", (b"", b"")),
        (b"event: e\n\n", (b"e", b"")),
        (b"event:e\nevent:f\ndata: :x\n\n", (b"f", b":x")),
        (b"Data: a\ndatas: b\n data: c\n\n", (b"", b"")),
        (b"", (b"", b"")),
    ],
)
def test_payloads(frame: bytes, expected: tuple[bytes, bytes]) -> None:
    assert payload(frame) == expected
