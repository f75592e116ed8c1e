"""Recorded answers cross the proxy over sockets: an upstream that plays them, many clients."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, Self

from proxy.core.ids import from_text
from proxy.demo.scripted import LAST_CHUNK, Received, Reply, ScriptedUpstream, chunk, head
from tests.e2e_corpus.corpus import media_type, request_of
from tests.proxy_process import ProxyProcess

CLIENTS = 24
MOST_CUTS = 12
RECORD_HEADER = "x-record"

Record = dict[str, Any]
BodyOf = Callable[[Record], bytes]


@dataclass(slots=True, kw_only=True)
class Crossing:
    """A record that crossed: what the client got, and what the ledger keeps of it."""

    record: Record
    request_id: int
    status: int
    body: bytes
    asked: bool
    """Whether the proxy asked for usage on the client's behalf."""
    row: dict[str, Any] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)
    metrics: Counter[str] = field(default_factory=Counter)


def drawn() -> Random:
    """Chance with a new seed for each run, printed where it fails; WEIGHBRIDGE_SEED repeats it."""
    seed = int(os.environ.get("WEIGHBRIDGE_SEED", time.time_ns() % 1_000_000))
    print(f"cut at random: repeat with WEIGHBRIDGE_SEED={seed}")  # noqa: T201 - shown on failure
    return Random(seed)


def as_recorded(record: Record) -> bytes:
    """The answer as it is in the record."""
    body: str = record["response_body"]
    return body.encode()


class Player:
    """An upstream that answers with the record that the client names, cut at random."""

    def __init__(self, records: Sequence[Record], body_of: BodyOf, random: Random) -> None:
        self._records = {record["id"]: record for record in records}
        self._body_of = body_of
        self._random = random
        self.asked: set[str] = set()

    async def __call__(self, received: Received, reply: Reply) -> None:
        record = self._records[received.header(RECORD_HEADER) or ""]
        body = self._body_of(record)
        if _asks(received.body) and not _asks(request_of(record).body):
            self.asked.add(record["id"])
        headers = [("Content-Type", media_type(record))]
        if self._random.random() < 0.3:
            headers.append(("Content-Length", str(len(body))))
            await reply.send(head(record["status"], headers))
            for piece in self._cut(body):
                await reply.send(piece)
            return
        headers.append(("Transfer-Encoding", "chunked"))
        await reply.send(head(record["status"], headers))
        for piece in self._cut(body):
            await reply.send(chunk(piece))
        await reply.send(LAST_CHUNK)

    def _cut(self, body: bytes) -> list[bytes]:
        cuts = sorted(self._random.randrange(len(body) + 1) for _ in range(self._cuts()))
        edges = [0, *cuts, len(body)]
        pieces = [body[start:end] for start, end in pairwise(edges)]
        return [piece for piece in pieces if piece]

    def _cuts(self) -> int:
        return self._random.randrange(MOST_CUTS)


def _asks(body: bytes) -> bool:
    if b"include_usage" not in body:
        return False
    options = json.loads(body).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


class Client:
    """One connection to the proxy, kept alive."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key

    async def cross(self, record: Record) -> Crossing:
        """Send a record's request and read the whole answer."""
        request = request_of(record)
        lines = [
            f"{request.method} {request.path} HTTP/1.1",
            "Host: proxy",
            f"Authorization: Bearer {self._key}",
            f"{RECORD_HEADER}: {record['id']}",
            f"Content-Length: {len(request.body)}",
        ]
        if request.content_type:
            lines.append(f"Content-Type: {request.content_type}")
        reader, writer = self._reader, self._writer
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + request.body)
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(_partition, rest)}
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await reader.readexactly(int(headers["content-length"]))
        return Crossing(
            record=record,
            request_id=from_text(headers["x-weighbridge-request-id"]),
            status=int(first.split(" ")[1]),
            body=body,
            asked=False,
        )

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int(await self._reader.readline(), 16):
            pieces.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(pieces)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def _partition(line: str) -> tuple[str, str, str]:
    return line.partition(":")


async def _replay(port: int, key: str, records: Sequence[Record]) -> list[Crossing]:
    waiting = iter(records)
    crossings: list[Crossing] = []

    async def one() -> None:
        async with Client(port, key) as client:
            for record in waiting:
                crossings.append(await client.cross(record))  # noqa: PERF401 - shared by clients

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(one())
    return crossings


def replay(
    start: Callable[[str], ProxyProcess],
    records: Sequence[Record],
    *,
    body_of: BodyOf = as_recorded,
    managed: bool = False,
    random: Random,
) -> list[Crossing]:
    """Send all records across a proxy that ``start`` starts before the upstream that it is given.

    Returns them with what the ledger holds. ``body_of`` makes the upstream's answer.
    """
    player = Player(records, body_of, random)

    async def run() -> tuple[list[Crossing], ProxyProcess]:
        async with ScriptedUpstream(player, keep=False) as upstream:
            proxy = await asyncio.to_thread(start, upstream.base_url)
            key = await asyncio.to_thread(proxy.key) if managed else "sk-recorded"
            return await _replay(proxy.port, key, records), proxy

    crossings, proxy = asyncio.run(run())
    for crossing in crossings:
        assert crossing.status == crossing.record["status"], crossing
    for crossing in crossings:
        crossing.asked = crossing.record["id"] in player.asked
    _read_ledger(proxy, crossings)
    return crossings


def _read_ledger(proxy: ProxyProcess, crossings: Sequence[Crossing]) -> None:
    proxy.settled(len(crossings))
    by_id = {crossing.request_id: crossing for crossing in crossings}
    for row in proxy.rows("SELECT * FROM requests"):
        by_id[row["id"]].row = row
    for event in proxy.rows(
        "SELECT request_id, metric, type, quantity FROM events"
        " JOIN series ON series.id = events.series_id"
    ):
        crossing = by_id[event["request_id"]]
        crossing.metrics[event["metric"]] += event["quantity"]
        if event["metric"] == "tokens":
            crossing.tokens[event["type"]] += event["quantity"]
