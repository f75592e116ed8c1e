"""When the loop rests, and for whom: by the figures of :mod:`proxy.http.moderation`."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import cast

import pytest
import uvloop

from proxy.http import moderation
from proxy.http.moderation import (
    BUSY_PIECES_PER_S,
    ENOUGH_PIECES,
    REST_S,
    SMALL_BYTES,
    WINDOW_S,
    Alarm,
    Moderation,
    Moderator,
)


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
    for _ in range(count):
        for _ in range(ENOUGH_PIECES - 1):
            counting.count(size)
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


def never() -> bool:
    return False


def test_a_rest_ends_when_it_rings() -> None:
    alarm = Alarm()
    woken: list[bool] = []
    resting = threading.Thread(target=lambda: woken.append(alarm.rest(60, never)))
    resting.start()
    while resting.is_alive():
        alarm.ring()
        resting.join(0.001)
    assert woken == [True]


def test_what_rang_before_a_rest_does_not_end_it() -> None:
    alarm = Alarm()
    alarm.ring()
    assert not alarm.rest(0.001, never)


def test_what_rings_while_the_need_is_asked_for_is_heard() -> None:
    alarm = Alarm()

    def asked() -> bool:
        alarm.ring()
        return False

    assert alarm.rest(60, asked)


async def test_a_rest_ends_when_the_ledger_has_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moderator, "rest_s", lambda *_: 60.0)
    counting = Moderation(asyncio.get_running_loop(), lambda: 0)
    rested = threading.Event()

    def write() -> None:
        while not rested.wait(0.001):
            counting.wake()

    writing = threading.Thread(target=write)
    writing.start()
    counting.count(1)
    await asyncio.sleep(0)
    rested.set()
    writing.join()


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
            self.counting.count(len(data))
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
