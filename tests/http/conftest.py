"""A server on a free port, and raw sockets to speak to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from proxy.http.connecting import UpstreamLimits
from proxy.http.limits import ConnectionLimits
from proxy.http.server import Handler, Server

PATIENT = {"client_timeout_s": 60.0, "keepalive_timeout_s": 75.0, "stalled_reader_s": 600.0}
"""Limits that no test is to meet, but for those that it sets itself."""
UPSTREAM = UpstreamLimits(
    connections=10, connect_timeout_s=10.0, silence_timeout_s=600.0, idle_s=15.0
)


class Wire:
    """One raw connection to a server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Read one answer: status, headers by lower-case name, body transfer-decoded."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status = int(lines[0].split()[1])
        pairs = (line.partition(b":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if status < 200:
            return status, headers, b""
        if headers.get(b"transfer-encoding") == b"chunked":
            return status, headers, await self._chunks()
        if b"content-length" in headers:
            return status, headers, await self.reader.readexactly(int(headers[b"content-length"]))
        return status, headers, await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return body

    async def ended(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 10) == b""


class Serving:
    """A server under test."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self._wires.append(wire)
        return wire

    async def close(self) -> None:
        for wire in self._wires:
            wire.writer.close()
        await self.server.close(0.1, _nothing)


async def _nothing() -> None:
    return None


Serve = Callable[..., Awaitable[Serving]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers; they end with the test."""
    running: list[Serving] = []

    async def start(handler: Handler, *, max_connections: int = 100, **limits: float) -> Serving:
        server = Server(
            handler,
            limits=ConnectionLimits(**(PATIENT | limits)),  # type: ignore[arg-type]
            max_connections=max_connections,
        )
        sockets = await server.listen("127.0.0.1", 0)
        serving = Serving(server, sockets[0].getsockname()[1])
        running.append(serving)
        return serving

    yield start
    for serving in running:
        await serving.close()
