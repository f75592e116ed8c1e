"""When the loop rests, and for whom: by the figures of :mod:`proxy.http.moderation`."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from ssl import create_default_context
from typing import cast
from unittest.mock import Mock

import pytest
import uvloop

from proxy.errors import UpstreamClosedError, UpstreamError
from proxy.http import moderation
from proxy.http.alarm import Alarm
from proxy.http.connecting import Origin
from proxy.http.moderation import (
    BUSY_PIECES_PER_S,
    ENOUGH_PIECES,
    REST_S,
    SMALL_BYTES,
    WINDOW_S,
    Moderation,
    Moderator,
)
from proxy.http.pool import UpstreamPool
from proxy.http.upstream import UpstreamConnection
from proxy.wire.headers import AnswerHead
from tests.http.conftest import UPSTREAM


def rests(pieces: int, interval_s: float, rounds: int = 200) -> set[float]:
    """Return how long it rests after each of these rounds, but for those of the first window."""
    moderator = Moderator()
    rested = [moderator.rest_s(pieces, 100 + n * interval_s) for n in range(rounds)]
    return set(rested[int(2 * WINDOW_S / interval_s) + 1 :])


@pytest.mark.parametrize(
    ("pieces", "interval_s", "rest_s"),
    [
        pytest.param(1, 1.1 / BUSY_PIECES_PER_S, 0.0, id="little comes"),
        pytest.param(1, 0.9 / BUSY_PIECES_PER_S, REST_S, id="much comes"),
        pytest.param(ENOUGH_PIECES - 1, 0.001, REST_S, id="many a round, not enough"),
        pytest.param(ENOUGH_PIECES, 0.001, 0.0, id="each round is a batch"),
    ],
)
def test_rests_while_much_comes_in_small_rounds(
    pieces: int, interval_s: float, rest_s: float
) -> None:
    assert rests(pieces, interval_s) == {rest_s}


def test_the_first_piece_after_a_silence_is_not_late() -> None:
    moderator = Moderator()
    busy = [moderator.rest_s(10, 100 + n * 0.001) for n in range(100)]
    assert busy[-1] == REST_S
    assert moderator.rest_s(1, 101.0) == 0.0


class Rests(list[float]):
    """Stands in for the clock, which moves only by what is slept, and for the pieces' rate."""

    def monotonic(self) -> float:
        return sum(self)

    def rest(self, seconds: float, needless: Callable[[], bool]) -> bool:
        if not needless():
            self.append(seconds)
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Rests:
    rests = Rests([WINDOW_S])
    monkeypatch.setattr(moderation, "time", rests)
    monkeypatch.setattr(Alarm, "rest", rests.rest)
    return rests


async def rounds(counting: Moderation, clock: Rests, *, size: int, count: int) -> list[float]:
    before = len(clock)
    taken: list[bytes] = []
    for _ in range(count):
        for _ in range(ENOUGH_PIECES - 1):
            counting.keep(taken.append, b"x" * size)
        await asyncio.sleep(0)
        clock[0] += 0.001
    return clock[before:]


async def test_a_loop_rests_once_a_round(clock: Rests) -> None:
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    rested = await rounds(counting, clock, size=SMALL_BYTES, count=100)
    assert 50 < len(rested) <= 100
    assert set(rested) == {REST_S}


async def test_it_does_not_rest_on_a_request_in_hand(clock: Rests) -> None:
    counting = Moderation(asyncio.get_running_loop(), lambda: 1)
    assert await rounds(counting, clock, size=SMALL_BYTES, count=100) == []


async def test_large_pieces_are_batches_themselves(clock: Rests) -> None:
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    assert await rounds(counting, clock, size=SMALL_BYTES + 1, count=100) == []


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces come thick and fast, and no rest is taken."""
    monkeypatch.setattr(Moderator, "rest_s", lambda *_: 0.0)
    monkeypatch.setattr(Moderator, "busy", property(lambda _: True, lambda *_: None))


@pytest.mark.usefixtures("busy")
async def test_a_rounds_pieces_are_taken_together_in_their_order() -> None:
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    taken: list[bytes] = []
    assert counting.keep(taken.append, b"1")
    assert counting.keep(taken.append, b"2")
    assert taken == []
    await asyncio.sleep(0)
    assert taken == [b"1", b"2"]


@pytest.mark.usefixtures("busy")
async def test_a_large_piece_does_not_pass_those_before_it() -> None:
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    taken: list[bytes] = []
    assert counting.keep(taken.append, b"1")
    assert not counting.keep(taken.append, b"2" * (SMALL_BYTES + 1))
    assert taken == [b"1"]


@pytest.mark.usefixtures("busy")
async def test_who_fails_on_a_piece_harms_no_neighbour() -> None:
    loop = asyncio.get_running_loop()
    counting = Moderation(loop, lambda: 0)
    errors: list[object] = []
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    taken: list[bytes] = []
    failure = RuntimeError("a bug")

    def fail(_: bytes) -> None:
        raise failure

    counting.keep(fail, b"1")
    counting.keep(taken.append, b"2")
    await asyncio.sleep(0)
    assert (taken, errors) == ([b"2"], [failure])


class Sink:
    """Notes what an answer's sink is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def answer_head(self, head: AnswerHead) -> None:
        self.told.append(head.status)

    def answer_data(self, data: bytes) -> None:
        self.told.append(data)

    def answer_end(self) -> None:
        self.told.append("end")

    def answer_failed(self, error: UpstreamError) -> None:
        self.told.append(type(error))

    def upstream_paused(self) -> None: ...

    def upstream_resumed(self) -> None: ...


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    ("headers", "last"),
    [
        pytest.param(b"connection: close", "end", id="ended by the close"),
        pytest.param(b"content-length: 9", UpstreamClosedError, id="broken off"),
    ],
)
async def test_what_came_before_the_upstream_closed_is_taken_first(
    headers: bytes, last: object
) -> None:
    loop = asyncio.get_running_loop()
    origin = Origin(scheme="http", host="127.0.0.1", port=9, base_path="/v1")
    moderation = Moderation(loop, lambda: 0)
    pool = UpstreamPool(origin, UPSTREAM, tls=create_default_context, moderation=moderation)
    connection, sink = UpstreamConnection(pool), Sink()
    transport = Mock(spec=asyncio.Transport)
    transport.get_extra_info.return_value = None
    connection.connection_made(transport)
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", sink, bodiless=False)
    connection.data_received(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % headers)
    connection.data_received(b"piece")
    assert sink.told == [200]
    connection.connection_lost(None)
    assert sink.told == [200, b"piece", last]


async def test_a_rest_ends_when_the_ledger_has_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moderator, "rest_s", lambda *_: 20.0)
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    rested = threading.Event()

    def write() -> None:
        while not rested.wait(0.001):
            counting.wake()

    writing = threading.Thread(target=write)
    writing.start()
    began = time.monotonic()
    counting.keep(lambda _: None, b"x")
    await asyncio.sleep(0)
    took = time.monotonic() - began
    rested.set()
    writing.join()
    counting.close()
    assert took < 20


def test_what_a_round_writes_goes_out_before_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    seen: list[bool] = []
    monkeypatch.setattr(Moderator, "rest_s", lambda *_: REST_S)
    monkeypatch.setattr(Alarm, "rest", lambda *_: seen.append(answered.wait(10)))

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            self.counting = Moderation(asyncio.get_running_loop(), lambda: 0)

        def data_received(self, data: bytes) -> None:
            if not self.counting.keep(self.transport.write, data):
                self.transport.write(data)

    def ask(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"x")
            client.recv(1)
            answered.set()

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        async with server:
            await asyncio.to_thread(ask, server.sockets[0].getsockname()[1])

    uvloop.run(serve())
    assert seen == [True]
