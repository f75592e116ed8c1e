"""Clients that do not read their answers: none holds its place for longer than it may be silent."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from proxy.http import deadlines, limits
from proxy.http.exchange import Exchange
from proxy.http.limits import ConnectionLimits
from proxy.http.server import Server
from tests.http.conftest import PATIENT, Serving

TEXT = [(b"content-type", b"text/plain")]
STALLED_S = 0.2
SMALL_BUFFER_BYTES = 4096
UNSENT = b"x" * (200 * 1024)
"""Less than has the transport say that its client is slow."""
SLOW = b"x" * (400 * 1024)
"""More than that."""
ASK = b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n"
CLOSE = b"GET /%b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HALF = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhal"
UPGRADE = b"GET /tunnel HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Run on both: each has its own transports."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    with asyncio.Runner(loop_factory=loops[request.param]) as runner:
        yield runner


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.02)
    monkeypatch.setattr(limits, "LINGER_S", 0.2)


class Tunnel:
    """Says much at once, and nothing after."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def body_data(self, data: bytes) -> None: ...

    def body_end(self) -> None: ...

    def body_broken(self, error: Exception) -> None: ...

    def client_paused(self) -> None: ...

    def client_resumed(self) -> None: ...

    def client_ended(self) -> bool:
        return False

    def client_gone(self) -> None:
        self.gone.set()


async def answer(exchange: Exchange) -> None:
    """Answer with much, at once."""
    if exchange.head.path == "/tunnel":
        exchange.listener = tunnel = Tunnel()
        exchange.tunnel(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", tunnel)
        exchange.write_raw(UNSENT)
        await tunnel.gone.wait()
        exchange.end()
        return
    await exchange.body(1000)
    exchange.respond(200, TEXT, SLOW if exchange.head.path == "/slow" else UNSENT)


class Client:
    """One that has the kernel take next to nothing for it."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.wire, data)

    async def read(self, count: int) -> int:
        """Read so many bytes, or up to the end; return how many there were."""
        got = 0
        while got < count and (data := await self._loop.sock_recv(self.wire, count - got)):
            got += len(data)
        return got


@asynccontextmanager
async def visit(first: bytes, **times: float) -> AsyncIterator[tuple[Serving, Client]]:
    """Serve, and have one client send its first bytes."""
    given = PATIENT | {"stalled_reader_s": STALLED_S} | times
    kept = ConnectionLimits(**given)  # type: ignore[arg-type]
    server = Server(answer, limits=kept, max_connections=10)
    (listening,) = await server.listen("127.0.0.1", 0)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
    serving = Serving(server, listening.getsockname()[1])
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        wire.setblocking(False)
        await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", serving.port))
        client = Client(wire)
        try:
            await client.send(first)
            await asyncio.sleep(0.05)
            assert server.connections == 1
            yield serving, client
        finally:
            await serving.close()


async def is_let_go(serving: Serving) -> bool:
    for _ in range(100):
        if not serving.server.connections:
            return True
        await asyncio.sleep(0.02)
    return False


REQUESTS = {
    "kept": ASK % b"",
    "closed": CLOSE % b"",
    "kept, slow": ASK % b"slow",
    "closed, slow": CLOSE % b"slow",
    "half sent": ASK % b"" + HALF,
    "tunnel": UPGRADE,
}


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "tunnel"])
def test_a_client_that_reads_nothing_is_let_go(runner: asyncio.Runner, name: str) -> None:
    async def read_nothing() -> None:
        times = {"keepalive_timeout_s": 0.1, "client_timeout_s": 0.3}
        async with visit(REQUESTS[name], **times) as (serving, _):
            assert await is_let_go(serving)

    runner.run(read_nothing())


@pytest.mark.parametrize("name", REQUESTS)
def test_nor_does_one_stay_that_has_closed_its_side(runner: asyncio.Runner, name: str) -> None:
    async def close_and_read_nothing() -> None:
        async with visit(REQUESTS[name]) as (serving, client):
            client.wire.shutdown(socket.SHUT_WR)
            assert await is_let_go(serving)

    runner.run(close_and_read_nothing())


def test_one_that_is_refused_and_reads_nothing_is_let_go(runner: asyncio.Runner) -> None:
    async def send_nonsense() -> None:
        async with visit(REQUESTS["kept"]) as (serving, client):
            await client.send(b"nonsense\r\n\r\n")
            assert await is_let_go(serving)

    runner.run(send_nonsense())


def test_one_that_reads_most_and_then_no_more_is_let_go(runner: asyncio.Runner) -> None:
    async def read_most() -> None:
        async with visit(REQUESTS["closed, slow"]) as (serving, client):
            most = len(SLOW) - 40_000
            assert await client.read(most) == most
            assert serving.server.connections == 1
            assert await is_let_go(serving)

    runner.run(read_most())


@pytest.mark.parametrize("name", ["kept", "closed", "kept, slow", "closed, slow"])
def test_one_that_reads_slowly_gets_all(runner: asyncio.Runner, name: str) -> None:
    async def read_slowly() -> None:
        async with visit(REQUESTS[name], keepalive_timeout_s=0.1) as (serving, client):
            got = 0
            while read := await client.read(20_000):
                got += read
                await asyncio.sleep(STALLED_S / 4)
            assert got > len(SLOW if "slow" in name else UNSENT)
            assert await is_let_go(serving)

    runner.run(read_slowly())
