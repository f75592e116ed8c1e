"""The hot path does no more work than it did: counted, not timed, so the bounds are tight.

A bound that breaks names the work that came in: an awaited task or a second parse for each chunk
is a handful of calls, a second write a system call. Raise a bound only for work that is needed,
and say in the commit what it buys. What is counted: see tests/bench/work_guard.py.
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.settings import child_environment
from tests.bench.bodies import ANSWER, request_body, stream_body
from tests.bench.work_guard import MARK

ROOT = Path(__file__).parent.parent
REQUESTS = 100
CHUNKS = 300
RUNS = 3
USAGE = {"prompt_tokens": 27, "completion_tokens": 9, "total_tokens": 36}


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that one request or one chunk may cost."""

    calls: float
    io: float


BOUNDS = {
    "request": Bound(calls=710, io=27),
    "chunk, usage hidden": Bound(calls=64, io=2.1),
    "chunk, usage asked for": Bound(calls=60, io=2.1),
}
"""A few hundredths above what was counted with Python 3.11, alone on its connection: every commit
serves one request. A chunk's two system calls are its read and its write: there are no fewer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What has been done so far, or between two moments."""

    calls: float
    io: float

    def per(self, earlier: "Work", count: int) -> "Work":
        return Work((self.calls - earlier.calls) / count, (self.io - earlier.io) / count)


class Lockstep:
    """An upstream that sends a chunk only once the client has the one before."""

    def __init__(self) -> None:
        self.received = asyncio.Semaphore(0)
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                body = await _read_request(reader)
                await (self._stream(writer, body) if b'"stream"' in body else _answer(writer))
        except asyncio.IncompleteReadError:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        asked = json.loads(body)
        usage = asked.get("stream_options", {}).get("include_usage", False)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(asked["max_tokens"]):
            writer.write(_event(_chunk(number, {"usage": None} if usage else {})))
            await self.received.acquire()
        last = _event(_chunk(-1, {"usage": USAGE}) | {"choices": []}) if usage else b""
        writer.write(last + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


@dataclass(slots=True)
class Client:
    """One connection to the proxy, raw: what it costs the proxy is the proxy's."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: str
    upstream: Lockstep

    async def request(self) -> None:
        self._send(request_body())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length
        assert json.loads(await self.reader.readexactly(int(length[1])))["usage"]

    async def stream(self, chunks: int, *, usage: bool) -> None:
        self._send(stream_body(chunks=chunks, gap_ms=0, usage=usage))
        for number in range(chunks):
            await self.reader.readuntil(b'"chunk-%d"' % number)
            await self.reader.readuntil(b"\n\n")
            self.upstream.received.release()
        rest = await self.reader.readuntil(b"\r\n0\r\n\r\n")
        rest = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", rest)  # however it is cut into writes
        assert b"[DONE]" in rest
        assert (b'"usage"' in rest) is usage

    def _send(self, body: bytes) -> None:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: guard\r\nContent-Type: application/json"
            f"\r\nAuthorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)


@dataclass(slots=True)
class Guarded:
    """The proxy, counting, and a client of it."""

    process: asyncio.subprocess.Process
    client: Client

    async def work(self) -> Work:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        while line := await self.process.stdout.readline():
            if line.startswith(MARK.encode()):
                told = json.loads(line.removeprefix(MARK.encode()))
                return Work(told["calls"], told["io"])
        raise AssertionError("the proxy ended")

    async def cost(self, what: Callable[[], Awaitable[None]], count: int) -> Work:
        """Return the least of some runs: what is done once in a while is not the work's own."""
        return min([await self._cost(what, count) for _ in range(RUNS)], key=lambda it: it.calls)

    async def _cost(self, what: Callable[[], Awaitable[None]], count: int) -> Work:
        before = await self.work()
        await what()
        return (await self.work()).per(before, count)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    upstream = Lockstep()
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    environment = child_environment(
        PYTHONPATH=str(ROOT),
        PROXY_PORT=str(_free_port()),
        PROXY_UPSTREAM_BASE_URL=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1",
        PROXY_UPSTREAM_API_KEY="sk-guard",
        PROXY_DATABASE_URL=f"sqlite:///{tmp_path}/ledger.db",
        PROXY_PRICING_FILE=str(ROOT / "pricing.toml"),
    )
    key = await asyncio.to_thread(_make_key, environment, tmp_path)
    with (tmp_path / "access.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.work_guard", "serve"),
            cwd=tmp_path,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        reader, writer = await _connect(int(environment["PROXY_PORT"]), process)
        yield Guarded(process, Client(reader, writer, key, upstream))
        writer.close()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        server.close()


async def test_a_request_costs_no_more_work_than_it_did(guarded: Guarded) -> None:
    async def requests() -> None:
        for _ in range(REQUESTS):
            await guarded.client.request()

    await requests()
    _assert_within("request", await guarded.cost(requests, REQUESTS))


@pytest.mark.parametrize(
    ("what", "usage"), [("chunk, usage hidden", False), ("chunk, usage asked for", True)]
)
async def test_a_chunk_costs_no_more_work_than_it_did(
    guarded: Guarded, what: str, usage: bool
) -> None:
    async def stream(chunks: int) -> None:
        await guarded.client.stream(chunks, usage=usage)

    await stream(1)
    short = await guarded.cost(lambda: stream(1), 1)
    long = await guarded.cost(lambda: stream(1 + CHUNKS), 1)
    _assert_within(what, long.per(short, CHUNKS))


def _assert_within(what: str, work: Work) -> None:
    bound = BOUNDS[what]
    assert work.calls <= bound.calls, f"{what}: {work.calls:.1f} calls, bound {bound.calls}"
    assert work.io <= bound.io, f"{what}: {work.io:.2f} reads and writes, bound {bound.io}"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    assert length
    return await reader.readexactly(int(length[1]))


async def _answer(writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}"
    writer.write(head.encode() + b"\r\n\r\n" + ANSWER)


def _chunk(number: int, more: dict[str, object]) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": " weighed"}, "finish_reason": None}
    return {
        "id": "chatcmpl-guard",
        "object": "chat.completion.chunk",
        "created": 1763700000,
        "model": "gpt-4o-2024-08-06",
        "system_fingerprint": f"chunk-{number}",
        "choices": [choice],
        **more,
    }


def _event(chunk: dict[str, object]) -> bytes:
    data = b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _make_key(environment: dict[str, str], directory: Path) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "proxy", "keys", "create", "--customer", "guard", "--json"],
        env=environment,
        cwd=directory,
        capture_output=True,
        check=True,
        timeout=60,
    )
    secret: str = json.loads(made.stdout)["secret"]
    return secret


async def _connect(
    port: int, process: asyncio.subprocess.Process
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while process.returncode is None:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
    raise AssertionError("the proxy ended at its start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
