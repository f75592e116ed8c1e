"""What ends a rest of the loop, and what does not."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from ssl import create_default_context

import pytest
import uvloop

from proxy.http.alarm import Alarm, descriptor_of
from proxy.http.connecting import Origin
from proxy.http.exchange import Exchange
from proxy.http.limits import ConnectionLimits
from proxy.http.moderation import Moderation, Moderator
from proxy.http.pool import UpstreamPool
from proxy.http.server import Server
from proxy.http.upstream import UpstreamConnection
from tests.http.conftest import UPSTREAM
from tests.http.test_moderation import Sink
from tests.overload.serving import serving

LONG_S = 20.0
SHORT_S = 0.001


def never() -> bool:
    return False


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    made = Alarm()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_rest_ends_when_it_rings(alarm: Alarm) -> None:
    ended: list[bool] = []
    resting = threading.Thread(target=lambda: ended.append(alarm.rest(LONG_S, never)))
    resting.start()
    while resting.is_alive():
        alarm.ring()
        resting.join(0.001)
    assert ended == [True]


def test_what_rang_before_a_rest_does_not_end_it(alarm: Alarm) -> None:
    alarm.ring()
    assert not alarm.rest(SHORT_S, never)


def test_what_rings_while_the_need_is_asked_for_is_heard(alarm: Alarm) -> None:
    def asked() -> bool:
        alarm.ring()
        return False

    assert alarm.rest(LONG_S, asked)


def test_there_is_no_needless_rest(alarm: Alarm) -> None:
    assert not alarm.rest(LONG_S, lambda: True)


def test_who_says_something_ends_one_rest(
    alarm: Alarm, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    alarm.listen(ours.fileno())
    alarm.listen(ours.fileno())
    theirs.send(b"1")
    assert alarm.rest(LONG_S, never)
    # It is not read, since we are asked to slow down: that must not keep the loop awake.
    assert not alarm.rest(SHORT_S, never)
    theirs.send(b"2")
    assert alarm.rest(LONG_S, never)


def test_what_is_read_already_does_not_end_a_rest(
    alarm: Alarm, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    alarm.listen(ours.fileno())
    theirs.send(b"1")
    ours.recv(1)
    assert not alarm.rest(SHORT_S, never)


def test_who_is_ignored_ends_no_rest(
    alarm: Alarm, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    alarm.listen(ours.fileno())
    alarm.ignore(ours.fileno())
    alarm.ignore(ours.fileno())
    theirs.send(b"1")
    assert not alarm.rest(SHORT_S, never)


def test_what_can_not_be_listened_to_harms_nobody(alarm: Alarm, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        alarm.listen(file.fileno())
        alarm.ignore(file.fileno())


def test_a_closed_transport_has_no_descriptor() -> None:
    class Closed(asyncio.BaseTransport):
        def __init__(self, sock: socket.socket | None) -> None:
            super().__init__({"socket": sock})

    ours, theirs = socket.socketpair()
    theirs.close()
    assert descriptor_of(Closed(ours)) == ours.fileno()
    ours.close()
    assert descriptor_of(Closed(ours)) is None
    assert descriptor_of(Closed(None)) is None


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moderator, "rest_s", lambda *_: LONG_S)
    monkeypatch.setattr(Moderator, "busy", property(lambda _: True, lambda *_: None))


class Resting:
    """A loop that rests long in every round, and a thread that speaks to it meanwhile."""

    def __init__(self, moderation: Moderation) -> None:
        self.moderation = moderation
        self.said = threading.Event()
        self.over = threading.Event()

    async def hear(self, speak: Callable[[], None]) -> float:
        """Rest until all is said; return how long that took, in seconds."""
        speaking = asyncio.create_task(asyncio.to_thread(self._speak, speak))
        began = time.monotonic()
        while not self.said.is_set():
            self.moderation.keep(lambda _: None, b"x")
            await asyncio.sleep(0)
        took = time.monotonic() - began
        self.over.set()
        await speaking
        return took

    def _speak(self, speak: Callable[[], None]) -> None:
        try:
            speak()
        finally:
            self.said.set()
            while not self.over.wait(0.001):
                self.moderation.wake()


def drain(moderation: Moderation) -> Alarm:
    """Let what rang at the end of a rest be over."""
    assert moderation._alarm is not None
    moderation._alarm.rest(0, never)
    return moderation._alarm


async def test_a_client_with_a_tunnel_ends_no_rest() -> None:
    moderation = Moderation(asyncio.get_running_loop(), lambda: 0)
    limits = ConnectionLimits(client_timeout_s=5, stalled_reader_s=5, keepalive_timeout_s=5)
    server = Server(lambda _: asyncio.sleep(0), limits=limits, max_connections=1)
    server.moderation = moderation
    alarm = drain(moderation)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = asyncio.BaseTransport({"socket": ours})
        server.listen_to(transport)
        theirs.send(b"1")
        assert alarm.rest(LONG_S, never)
        server.ignore(transport)
        theirs.send(b"2")
        assert not alarm.rest(SHORT_S, never)
    moderation.close()
    server.ignore(transport)


@pytest.mark.usefixtures("long_rests")
def test_a_client_that_asks_or_connects_ends_a_rest() -> None:
    async def answer(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 204 No Content\r\n", status=204, framed=True)
        exchange.end()

    def ask(client: socket.socket) -> None:
        time.sleep(0.02)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 204")

    async def serve() -> tuple[float, bool]:
        moderation = Moderation(asyncio.get_running_loop(), lambda: server.running)
        limits = ConnectionLimits(client_timeout_s=5, stalled_reader_s=5, keepalive_timeout_s=5)
        server = Server(answer, limits=limits, max_connections=10, moderation=moderation)
        (listening,) = await server.listen("127.0.0.1", 0)
        with socket.create_connection(listening.getsockname()) as client:
            await asyncio.to_thread(ask, client)
            took = await Resting(moderation).hear(partial(ask, client))
            drained = drain(moderation)
            with socket.create_connection(listening.getsockname()):
                connecting = drained.rest(LONG_S, never)
        await server.close(0, nothing)
        moderation.close()
        return took, connecting

    async def nothing() -> None: ...

    took, connecting = uvloop.run(serve())
    assert took < LONG_S
    assert connecting


async def test_who_has_just_connected_is_in_hand_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as proxy:
        in_hand = proxy.application._in_hand
        in_hand()
        with socket.create_connection(("127.0.0.1", proxy.port)):
            while not proxy.application.server.connections:
                await asyncio.sleep(0)
            assert (in_hand(), in_hand()) == (1, 0)


@pytest.mark.usefixtures("long_rests")
def test_an_answer_that_begins_ends_a_rest_and_one_that_goes_on_does_not() -> None:
    async def serve(listener: socket.socket) -> tuple[float, list[object], bool]:
        loop = asyncio.get_running_loop()
        moderation = Moderation(loop, lambda: 0)
        origin = Origin(scheme="http", host="127.0.0.1", port=9, base_path="/v1")
        pool = UpstreamPool(origin, UPSTREAM, tls=create_default_context, moderation=moderation)
        _, connection = await loop.create_connection(
            lambda: UpstreamConnection(pool), *listener.getsockname()
        )
        upstream, _ = listener.accept()
        sink = Sink()
        connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", sink, bodiless=False)

        def answer() -> None:
            time.sleep(0.02)
            upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            while not sink.told:
                time.sleep(0.001)

        took = await Resting(moderation).hear(answer)
        drained = drain(moderation)
        upstream.sendall(b"x")  # nobody reads it: the loop stands still
        ended = drained.rest(SHORT_S, never)
        connection.abort()
        upstream.close()
        moderation.close()
        return took, sink.told, ended

    with socket.create_server(("127.0.0.1", 0)) as listener:
        took, told, ended = uvloop.run(serve(listener))
    assert took < LONG_S
    assert told == [200]
    assert not ended


async def test_answers_are_awaited_only_where_the_loop_rests() -> None:
    moderation = Moderation(asyncio.get_running_loop(), lambda: 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert moderation.await_answer(asyncio.BaseTransport({"socket": ours})) is None
    moderation.close()


async def test_a_closed_moderation_neither_rests_nor_wakes() -> None:
    moderation = Moderation(asyncio.get_running_loop(), lambda: 0)
    moderation.close()
    moderation.close()
    moderation.wake()
    moderation.listen(0)
    moderation.ignore(0)
    assert moderation.await_answer(asyncio.BaseTransport()) is None
