"""A ledger filled with busy days: five models, three token types, every quarter hour."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from proxy.clock import now
from proxy.core.ids import RequestIds
from proxy.core.subscriptions import ApiKey, key_digest
from proxy.core.usage import Measurement, Metric, Quantity, RequestState, TokenType, Usage
from proxy.ledger.port import OpenCall, Settlement
from proxy.ledger.sqlite import SqliteLedger

_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "o1", "gpt-4")
_TYPES = (TokenType.INPUT, TokenType.CACHED_INPUT, TokenType.OUTPUT)
_QUARTERS_PER_DAY = 96
_AT_ONCE = 1000


def fill(database: Path, secret: str, *, days: int) -> None:
    """Write the first ``days`` days of this month's period, as far as the month goes.

    Days to come are filled too: what counts is how much the open period holds.
    """
    asyncio.run(_fill(database, key_digest(secret.encode()), days))


async def _fill(database: Path, digest: bytes, days: int) -> None:
    ledger = await SqliteLedger.open_database(database)
    try:
        key = await ledger.key(digest)
        if key is None:
            msg = "the bench's key is not in its own ledger"
            raise LookupError(msg)
        batch = []
        for call in _calls(key, days):
            batch.append(call)
            if len(batch) == _AT_ONCE:
                await _write(ledger, batch)
                batch.clear()
        await _write(ledger, batch)
    finally:
        await ledger.close()


def _calls(key: ApiKey, days: int) -> Iterator[OpenCall]:
    ids = RequestIds(0)
    month = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for quarter in range(days * _QUARTERS_PER_DAY):
        moment = month + timedelta(minutes=15 * quarter)
        if moment.month != month.month:
            return
        at_us = int(moment.timestamp()) * 1_000_000
        for model in _MODELS:
            yield OpenCall(
                id=ids.make(at_us // 1000),
                opened_at_us=at_us,
                key=key,
                key_digest=None,
                key_prefix=key.prefix,
                endpoint="/v1/chat/completions",
                model=model,
                stream=False,
                body_bytes=1600,
                attempt=0,
            )


async def _write(ledger: SqliteLedger, calls: list[OpenCall]) -> None:
    await asyncio.gather(*(ledger.open(call) for call in calls))
    await asyncio.gather(*(ledger.settle(_settlement(call)) for call in calls))


def _settlement(call: OpenCall) -> Settlement:
    quantities = tuple(Quantity(metric=Metric.TOKENS, type=t, quantity=1000) for t in _TYPES)
    usage = Usage(quantities=quantities, input_tokens=2000, model=call.model)
    return Settlement(
        request_id=call.id,
        opened_at_us=call.opened_at_us,
        settled_at_us=call.opened_at_us + 1_000_000,
        key=call.key,
        key_digest=None,
        key_prefix=call.key_prefix,
        model_requested=call.model,
        model=call.model,
        service_tier="default",
        context_class="",
        upstream_status=200,
        measurement=Measurement(state=RequestState.EXACT, usage=usage),
    )
