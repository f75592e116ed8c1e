"""What a proxy process holds in memory, while many clients and upstreams do their worst."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.scripted import Ending, Received, Reply, chunk, chunked_head, steps, whole
from tests.e2e.raw_http import Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess, until

MEBIBYTE = 1 << 20
CHAT = "/v1/chat/completions"
EVENT_STREAM = (("Content-Type", "text/event-stream"),)
CHUNKED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
PIECE = chunk(b"data: " + b"x" * 65_000 + b"\n\n")


@pytest.fixture
def scripted() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def chat(key: str, *, size: int = 100, stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": "x" * size}]
    body = json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream}).encode()
    return request(CHAT, key=key, body=body)


def started(proxy: ProxyProcess, scripted: ScriptedThread) -> tuple[str, int]:
    """Start a proxy, warm it up, and return a key of it and what it holds now."""
    proxy.start()
    key = proxy.key()
    scripted.answers(steps(whole(200, b"{}")))
    for _ in range(20):
        assert ask(proxy.port, chat(key, size=MEBIBYTE)).status == 200
    return key, proxy.rss_bytes


async def endless(_received: Received, reply: Reply) -> None:
    await reply.send(chunked_head(200, EVENT_STREAM))
    while True:
        await reply.send(PIECE)


async def lineless(_received: Received, reply: Reply) -> None:
    """Stream for ever without a line's end."""
    await reply.send(chunked_head(200, EVENT_STREAM))
    await reply.send(chunk(b"data: "))
    while True:
        await reply.send(chunk(b"x" * 65_000))


def test_bodies_follow_the_bound_not_the_clients(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    bound = 32 * MEBIBYTE
    settings: dict[str, Any] = {"max_held_bytes": bound, "drain_timeout_s": 1}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, before = started(proxy, scripted)
        keys = [key, proxy.key("second"), proxy.key("third")]
        scripted.answers(steps(Ending.HANG))
        refused = 0
        for number in range(60):
            client = clients.enter_context(Client(proxy.port))
            with suppress(OSError):
                client.send(chat(keys[number % 3], size=4 * MEBIBYTE))
            client.socket.settimeout(0.05)
            with suppress(TimeoutError, EOFError, ConnectionError):
                refused += client.answer().status == 503
        assert refused >= 60 - bound // (4 * MEBIBYTE)
        # A body, and its copy with what we ask for, or on its way up: four times at the most.
        assert proxy.rss_bytes - before < 4 * bound
        clients.close()
        scripted.answers(steps(whole(200, b"{}")))
        until(lambda: ask(proxy.port, chat(key, size=MEBIBYTE)).status == 200)


def test_slow_readers_make_their_upstreams_wait(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"drain_timeout_s": 0.2, "drain_bytes": MEBIBYTE}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, before = started(proxy, scripted)
        scripted.answers(endless)
        for _ in range(40):
            client = clients.enter_context(Client(proxy.port, receive_buffer=4096))
            client.send(chat(key))
            assert client.head().status == 200
        time.sleep(2)
        # Each may have the high-water mark, the piece that crossed it, and what was read with it.
        assert proxy.rss_bytes - before < 40 * MEBIBYTE
        clients.close()
        proxy.settled(60)
        assert proxy.terminate() == 0


def test_who_reads_nothing_at_all_is_let_go(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"client_timeout_s": 1, "drain_timeout_s": 0.2}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, _ = started(proxy, scripted)
        scripted.answers(endless)
        client = clients.enter_context(Client(proxy.port, receive_buffer=4096))
        client.send(chat(key))
        assert client.head().status == 200
        assert proxy.settled(21)[-1]["state"] == "partial"


def test_who_reads_slowly_is_not(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, client_timeout_s=1) as proxy:
        key, _ = started(proxy, scripted)
        body = b"x" * (6 * MEBIBYTE)
        scripted.answers(steps(whole(200, body)))
        client = clients.enter_context(Client(proxy.port, receive_buffer=8192))
        client.send(chat(key, stream=False))
        received = 0
        begun = time.monotonic()
        client.head()
        while received < 1_500_000:
            received += len(client.socket.recv(16_384))
            time.sleep(0.05)
        assert time.monotonic() - begun > 3
        answer = b""
        while received + len(answer) < 5_000_000:
            answer += client.socket.recv(1 << 20)


def test_answers_are_not_piled_up_for_who_does_not_read_them(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    with ProxyProcess(tmp_path / "proxy", scripted.base_url) as proxy:
        key, before = started(proxy, scripted)
        scripted.answers(steps(whole(200, b"x" * MEBIBYTE)))
        client = clients.enter_context(Client(proxy.port, receive_buffer=4096))
        client.socket.setblocking(False)
        data = chat(key, stream=False)
        for _ in range(200):
            with suppress(BlockingIOError):
                client.socket.send(data)
        time.sleep(1.5)
        assert len(proxy.requests()) < 20 + 40
        assert proxy.rss_bytes - before < 24 * MEBIBYTE


def test_streams_without_a_line_end_are_bounded(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"drain_timeout_s": 0.2, "drain_bytes": 0}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, before = started(proxy, scripted)
        scripted.answers(lineless)
        received = [0, 0]
        opened = [clients.enter_context(Client(proxy.port)) for _ in received]
        for client in opened:
            client.send(chat(key))
            client.socket.settimeout(0.2)
        deadline_s = time.monotonic() + 20
        while min(received) < 80 * MEBIBYTE and time.monotonic() < deadline_s:
            for number, client in enumerate(opened):
                with suppress(TimeoutError):
                    received[number] += len(client.socket.recv(1 << 22))
        assert min(received) >= 80 * MEBIBYTE
        # Each keeps one event of 32 MiB at the most, and its copy while it is put together.
        assert proxy.rss_bytes - before < len(received) * 3 * 32 * MEBIBYTE


@pytest.mark.parametrize(
    ("flood", "status"),
    [
        ([b"GET /v1/models HTTP/1.1\r\nHost: x\r\n", *[b"X-A: b\r\n" * 1000] * 400], 431),
        ([b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: ", *[b"a" * 8000] * 400], 431),
        ([b"GET /", *[b"a" * 8000] * 400], 431),
        ([b"\r\n" * 4000] * 400, 431),
        ([CHUNKED + b"0\r\n", *[b"X-A: b\r\n" * 1000] * 400], None),
        ([CHUNKED + b"0\r\nX-A: ", *[b"a" * 8000] * 400], None),
        ([CHUNKED + b"1;", *[b"a" * 8000] * 400], None),
        ([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 200] * 400, None),
    ],
    ids=[
        "headers",
        "header",
        "target",
        "empty lines",
        "trailers",
        "trailer",
        "chunk extension",
        "pipelined",
    ],
)
def test_floods_take_no_memory(
    scripted: ScriptedThread,
    clients: ExitStack,
    tmp_path: Path,
    flood: list[bytes],
    status: int | None,
) -> None:
    settings: dict[str, Any] = {"client_timeout_s": 2}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, before = started(proxy, scripted)
        flooders = [clients.enter_context(Client(proxy.port)) for _ in range(30)]
        for client in flooders:
            client.socket.settimeout(0.02)
        alive = set(flooders)
        for piece in flood:
            for client in list(alive):
                try:
                    client.send(piece.replace(b"%b", key.encode()))
                except TimeoutError:
                    pass
                except OSError:
                    alive.discard(client)
        assert proxy.rss_bytes - before < 32 * MEBIBYTE
        flooders[0].socket.settimeout(10)
        if status is not None:
            with suppress(ConnectionError):
                assert flooders[0].head().status == status
        assert ask(proxy.port, request("/healthz", method="GET")).status == 200
        until(lambda: len(proxy.requests()) == 20)


def test_connections_beyond_the_limit_are_refused_and_cost_nothing(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, max_connections=50) as proxy:
        _, before = started(proxy, scripted)
        kept = [clients.enter_context(Client(proxy.port)) for _ in range(50)]
        until(lambda: not _serves(proxy))
        at_limit = files(proxy)
        refused = 0
        for _ in range(500):
            with Client(proxy.port) as client, suppress(OSError):
                refused += client.answer().status == 503
        assert refused >= 495
        until(lambda: files(proxy) <= at_limit + 2)
        assert proxy.rss_bytes - before < 8 * MEBIBYTE
        for client in kept:
            client.close()
        until(lambda: _serves(proxy))


def test_no_descriptor_left_neither_kills_nor_spins(
    scripted: ScriptedThread, clients: ExitStack, tmp_path: Path
) -> None:
    program = ("-m", "tests.overload.with_few_files", "90")
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, program=program) as proxy:
        started(proxy, scripted)
        many = [clients.enter_context(_connected(proxy.port)) for _ in range(200)]
        time.sleep(0.5)
        begun = cpu_s(proxy)
        time.sleep(1.5)
        assert cpu_s(proxy) - begun < 0.75
        for client in many:
            client.close()
        until(lambda: _serves(proxy))
        assert proxy.terminate() == 0


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port))


def _serves(proxy: ProxyProcess) -> bool:
    try:
        return ask(proxy.port, request("/healthz", method="GET")).status == 200
    except (OSError, EOFError):
        return False


def files(proxy: ProxyProcess) -> int:
    return sum(1 for _ in Path(f"/proc/{proxy.process.pid}/fd").iterdir())


def cpu_s(proxy: ProxyProcess) -> float:
    fields = Path(f"/proc/{proxy.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_an_endless_stream_is_not_drained_for_ever(
    scripted: ScriptedThread, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"drain_timeout_s": 30, "drain_bytes": MEBIBYTE}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, _ = started(proxy, scripted)
        scripted.answers(endless)
        for _ in range(4):
            with Client(proxy.port) as client:
                client.send(chat(key))
                client.head()
        rows = proxy.settled(24)
        assert [row["state"] for row in rows[20:]] == ["partial"] * 4


def test_a_subscription_has_so_many_drains(scripted: ScriptedThread, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"drain_timeout_s": 60, "drains_per_subscription": 2}
    with ProxyProcess(tmp_path / "proxy", scripted.base_url, **settings) as proxy:
        key, _ = started(proxy, scripted)

        async def trickling(_received: Received, reply: Reply) -> None:
            await reply.send(chunked_head(200, EVENT_STREAM))
            while True:
                await reply.send(chunk(b": wait\n\n"))
                await asyncio.sleep(0.05)

        scripted.answers(trickling)
        for _ in range(6):
            with Client(proxy.port) as client:
                client.send(chat(key))
                client.head()
        until(lambda: proxy.states()["partial"] == 4)
        assert proxy.states()["open"] == 2
