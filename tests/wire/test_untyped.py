"""Answers whose type does not say whether they are streams."""

import pytest

from proxy.wire.untyped import UntypedMeter

STREAMS = (
    b"data: {}\n\n",
    b"event: response.created\ndata: {}\n\n",
    b": ping\n\n",
    b"id: 1\ndata: {}\n\n",
    b"retry: 3\n\n",
    b"\r\n\xef\xbb\xbfdata: {}\n\n",
)
OTHERS = (b'{"id": "chatcmpl-1"}', b"", b"da", b"date: today", b"\xff\xd8\xff", b"\r\n", b"r")


class Notes:
    """A meter that keeps what it is fed, and holds nothing back but its last byte."""

    def __init__(self) -> None:
        self.fed = b""
        self.finished = self.completed = self.waits = False

    def feed(self, data: bytes) -> bytes:
        self.fed += data
        self.completed = self.waits = self.fed.endswith(b"\n\n")
        return data

    def finish(self) -> None:
        self.finished = True

    def take_waiting(self) -> bytes:
        return b"waited"

    def take_held(self) -> bytes:
        return b"held"


def fed(body: bytes, size: int) -> tuple[Notes, Notes, UntypedMeter, bytes]:
    stream, other = Notes(), Notes()
    meter = UntypedMeter(stream=stream, other=other)
    out = b"".join(meter.feed(body[at : at + size]) for at in range(0, len(body), size))
    return stream, other, meter, out


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("body", STREAMS)
def test_a_stream_is_known_by_its_beginning(body: bytes, size: int) -> None:
    stream, other, meter, out = fed(body, size)
    assert out == stream.fed == body
    assert not other.fed
    assert (meter.completed, meter.waits) == (True, True)
    assert meter.take_waiting() == b"waited"
    assert not meter.waits
    meter.finish()
    assert stream.finished
    assert not other.finished
    assert meter.take_held() == b"held"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("body", OTHERS)
def test_what_is_no_stream_goes_to_the_other(body: bytes, size: int) -> None:
    stream, other, meter, out = fed(body, size)
    meter.finish()
    assert other.finished
    assert out + meter.take_held() == body + b"held"
    assert other.fed == body
    assert not stream.fed
    assert not stream.finished


def test_before_anything_came_nothing_is_held() -> None:
    meter = UntypedMeter(stream=Notes(), other=Notes())
    assert meter.take_waiting() == meter.take_held() == b""
