"""A scripted HTTP/1.1 server: exact bytes, exact cuts, pauses, and connections that break.

It parses what it must (one request after another, bodies by length or chunked) and leaves the
answer to a responder, which writes raw bytes. :func:`steps` makes responders out of values.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Self, cast

LAST_CHUNK = b"0\r\n\r\n"
_BLANK_LINE = b"\r\n\r\n"
_HIGH_WATER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it arrived; ``headers`` in their order, names as they were written."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """The target up to its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return a header's first value."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)


class Reply:
    """The way back to one client: raw bytes, and what became of the connection."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Write bytes as they are; ``ConnectionError`` once the client is gone."""
        await self._connection.send(data)

    def close(self) -> None:
        """End the connection after what was written."""
        self._connection.transport.close()

    def abort(self) -> None:
        """Break the connection (reset), so that the client may lose what it has not read."""
        self._connection.reset()

    async def wait_gone(self) -> None:
        """Wait until the client has closed the connection."""
        await self._connection.gone.wait()


Responder = Callable[[Received, Reply], Awaitable[None]]


class Ending(Enum):
    """How :func:`steps` may end, other than by leaving the connection open for the next."""

    CLOSE = "close"
    ABORT = "abort"
    HANG = "hang"


def steps(*parts: bytes | float | Ending) -> Responder:
    """Make a responder that sends bytes, pauses for seconds, and ends as it is told."""

    async def respond(_received: Received, reply: Reply) -> None:
        for part in parts:
            if isinstance(part, bytes):
                await reply.send(part)
            elif part is Ending.CLOSE:
                reply.close()
            elif part is Ending.ABORT:
                reply.abort()
            elif part is Ending.HANG:
                await reply.wait_gone()
            else:
                await asyncio.sleep(float(part))

    return respond


def head(status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def whole(status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a complete answer with its length."""
    return head(status, (*headers, ("Content-Length", str(len(body))))) + body


def chunked_head(status: int, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the start of an answer that goes on with :func:`chunk` and :data:`LAST_CHUNK`."""
    return head(status, (*headers, ("Transfer-Encoding", "chunked")))


def chunk(data: bytes) -> bytes:
    """Return one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class ScriptedUpstream:
    """The server; ``async with`` starts and stops it.

    ``responder`` may be changed at any time. ``received`` keeps all requests (unless ``keep`` is
    off), ``gone`` counts the clients that left while they were being answered.
    """

    def __init__(
        self, responder: Responder, *, tls: ssl.SSLContext | None = None, keep: bool = True
    ) -> None:
        self.responder = responder
        self.received: list[Received] = []
        self.connections = 0
        self.gone = 0
        self._tls = tls
        self._keep = keep
        self._open: set[_Connection] = set()
        self._failures: list[Exception] = []
        self._server: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, ssl=self._tls, backlog=4096
        )

    async def stop(self) -> None:
        """Close everything; raise what responders raised."""
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self._open]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._failures:
            raise ExceptionGroup("responders failed", self._failures)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise RuntimeError("the scripted upstream is not started")
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def base_url(self) -> str:
        """What ``PROXY_UPSTREAM_BASE_URL`` would be set to."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._open)

    async def wait_idle(self) -> None:
        """Wait until every client has gone, and what answered them has ended."""
        while self._open:
            await asyncio.gather(*(connection.task for connection in self._open))

    async def serve(self, connection: "_Connection") -> None:
        """Answer one connection's requests, one after another, until either side ends it."""
        try:
            while (received := await connection.read_request()) is not None:
                if self._keep:
                    self.received.append(received)
                await self._answer(received, connection)
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001 - kept, and raised by stop()
            self._failures.append(error)
        finally:
            connection.transport.close()

    async def _answer(self, received: Received, connection: "_Connection") -> None:
        connection.answering = True
        try:
            await self.responder(received, Reply(connection))
        finally:
            connection.answering = False

    def opened(self, connection: "_Connection") -> int:
        """Take a connection in; return its number, from 1."""
        self._open.add(connection)
        self.connections += 1
        return self.connections

    def closed(self, connection: "_Connection") -> None:
        """Let a connection go."""
        self._open.discard(connection)
        self.gone += connection.answering and not connection.ended_here


class _Connection(asyncio.Protocol):
    """One client's connection; its task reads requests and runs the responder."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = False
        self.gone = asyncio.Event()
        self.answering = False
        self.ended_here = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._writable.set()
        self.number = self._upstream.opened(self)
        self.task = asyncio.get_running_loop().create_task(self._upstream.serve(self))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._ended = True
        self._upstream.closed(self)
        self.gone.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        await self._writable.wait()
        if self.gone.is_set() or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self.transport.write(data)
        # One turn of the loop, so that the next bytes are a write of their own.
        await asyncio.sleep(0)

    def reset(self) -> None:
        self.ended_here = True
        connected: socket.socket = self.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def read_request(self) -> Received | None:
        """Read the next request; None when the client has no more."""
        while (end := self._buffer.find(_BLANK_LINE)) < 0:
            if not await self._more():
                return None
        lines = (
            self._take(end + len(_BLANK_LINE))[: -len(_BLANK_LINE)].decode("latin-1").split("\r\n")
        )
        method, target, _ = lines[0].split(" ")
        fields = (line.partition(":") for line in lines[1:])
        headers = tuple((name, value.strip()) for name, _, value in fields)
        body = await self._read_body({name.lower(): value for name, value in headers})
        return Received(
            method=method, target=target, headers=headers, body=body, connection=self.number
        )

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self._exactly(int(headers.get("content-length", "0")))
        parts = []
        while size := int((await self._line()).split(b";")[0], 16):
            parts.append(await self._exactly(size))
            await self._line()
        while await self._line():
            pass
        return b"".join(parts)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not await self._more():
                raise ConnectionResetError("the client left in mid-request")
        return self._take(end + 2)[:-2]

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._more():
                raise ConnectionResetError("the client left in mid-request")
        return self._take(size)

    async def _more(self) -> bool:
        if self._ended:
            return False
        self._news.clear()
        await self._news.wait()
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
