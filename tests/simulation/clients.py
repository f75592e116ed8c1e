"""Clients: they stream or not, read slowly, leave, and try again as SDKs do."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from proxy.core.ids import to_text
from proxy.core.subscriptions import ApiKey
from proxy.http.connection import ServerConnection
from proxy.http.exchange import Exchange
from proxy.metering.call import Call
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.headers import RequestHead
from proxy.wire.request import read_facts, with_usage_asked
from tests.simulation.worker import Worker

PATIENCE_S = 90.0


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a client saw of one request.

    ``whole``: its answer came to its proper end. ``known``: its key is the ledger's.
    """

    request_id: int
    worker: Worker
    known: bool
    whole: bool = False
    status: int = 0
    cut: bool = False
    left: bool = False
    refused: str | None = None
    body: bytearray = field(default_factory=bytearray)


class Wire:
    """The client's end of a connection, in place of ``ServerConnection``."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.keep_alive = True
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.peer = "client"
        self.transport = self

    def write(self, data: bytes) -> None:
        if not self.seen.cut:
            self.seen.body += data

    def finished(self, exchange: Exchange) -> None:
        self.seen.whole = not self.seen.cut and not self.seen.left
        self.seen.status = exchange.status
        self._end()

    def close(self) -> None:
        self.seen.cut = True
        self._end()

    def worker_died(self) -> None:
        if not self.over.done():
            self.close()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


@dataclass(slots=True, kw_only=True)
class Shop:
    """What clients need: who serves, whose they are, and where to note what they saw."""

    dice: random.Random
    clock: Callable[[], int]
    workers: list[Worker]
    keys: list[ApiKey]
    kinds: list[str]
    weights: list[int]
    seen: list[Seen]


async def visit(shop: Shop) -> None:
    """One client: a request, and up to two more tries where it failed."""
    dice = shop.dice
    kind = dice.choices(shop.kinds, shop.weights)[0]
    stream = dice.random() < 0.6
    key: ApiKey | bytes = dice.choice(shop.keys)
    if dice.random() < 0.2:
        key = bytes([dice.randrange(4)]) * 32
    for attempt in range(3):
        serving = [worker for worker in shop.workers if worker.serving]
        if serving:
            seen = await _ask(shop, dice.choice(serving), key, (kind, stream, attempt))
            if seen.whole or seen.left or dice.random() < 0.2:
                return
        await asyncio.sleep(dice.uniform(0.5, 3.0))


async def _ask(
    shop: Shop, worker: Worker, key: ApiKey | bytes, what: tuple[str, bool, int]
) -> Seen:
    kind, stream, attempt = what
    call = _call(shop, worker, key, {"kind": kind, "stream": stream}, attempt)
    seen = Seen(request_id=call.id, worker=worker, known=call.key is not None)
    shop.seen.append(seen)
    wire = Wire(seen)
    head = RequestHead(
        method="POST", path="/v1/chat/completions", query="", headers=[], fields={}, http_minor=1
    )
    exchange = Exchange(cast("ServerConnection", wire), head)
    exchange.finish()
    worker.clients[wire] = None
    served = worker.task(worker.carry(exchange, call))
    whims = _whims(shop.dice, exchange, seen)
    await asyncio.wait({served, wire.over}, timeout=PATIENCE_S, return_when="FIRST_COMPLETED")
    if served.done() and (error := served.result()) is not None:
        seen.refused = error.code
    elif not wire.over.done():
        _leave(exchange, seen)
    for whim in whims:
        whim.cancel()
    if exchange.listener is not None and not worker.dead:
        exchange.listener.client_resumed()
    worker.clients.pop(wire, None)
    return seen


def _call(
    shop: Shop, worker: Worker, key: ApiKey | bytes, asks: dict[str, Any], attempt: int
) -> Call:
    now_us = shop.clock()
    request_id = worker.ids.make(now_us // 1000)
    body = json.dumps({"model": "gpt-4o", "max_tokens": 60} | asks).encode()
    facts = read_facts(body, strict=True)
    asked = facts.stream and shop.dice.random() < 0.7
    head = b"%d" % request_id
    known = key if isinstance(key, ApiKey) else None
    return Call(
        id=request_id,
        request_id=to_text(request_id),
        opened_at_us=now_us,
        key=known,
        key_digest=key if isinstance(key, bytes) else None,
        key_prefix="wb-client",
        endpoint=CHAT_COMPLETIONS,
        upstream=worker.upstream,
        model=facts.model,
        facts=facts,
        head=head,
        body=with_usage_asked(body) if asked else body,
        body_bytes=len(body),
        asked=asked,
        unasked=(lambda: (head, body)) if asked else None,
        managed=known is not None,
        attempt=attempt,
    )


def _whims(dice: random.Random, exchange: Exchange, seen: Seen) -> list[asyncio.TimerHandle]:
    loop = asyncio.get_running_loop()
    handles = []
    if dice.random() < 0.2:
        handles.append(loop.call_later(dice.choice((0.0, 0.005, 0.3, 5.0)), _leave, exchange, seen))
    if dice.random() < 0.2:
        handles.append(loop.call_later(dice.uniform(0, 1), _read, exchange, "client_paused"))
        handles.append(loop.call_later(dice.uniform(1, 4), _read, exchange, "client_resumed"))
    return handles


def _leave(exchange: Exchange, seen: Seen) -> None:
    if not exchange.answered and not seen.worker.dead and not exchange.gone:
        seen.left = True
        exchange.lose_client()


def _read(exchange: Exchange, what: str) -> None:
    if exchange.listener is not None and not exchange.answered:
        getattr(exchange.listener, what)()
