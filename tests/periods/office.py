"""A ledger with prices, customers and a clock that is set by hand."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.billing.bills import invoice_json
from proxy.billing.books import BookShelf
from proxy.billing.closing import Closer, Outcome
from proxy.billing.upkeep import BillingUpkeep
from proxy.core.subscriptions import ApiKey, key_digest
from proxy.core.times import from_us, to_us
from proxy.core.usage import RequestState
from proxy.ledger.port import OpenCall
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, Clock, settlement, usage

PRICES = """
[models."gpt-4o"]
match = ["gpt-4o-2024-08-06"]
input = 2.50
output = 10.00
[models.o1]
input = { mode = "graduated", tiers = [{ up_to = 1_000_000, price = 15.00 }, { price = 12.00 }] }
output = 60.00
[plans.pro]
markup = 1.20
[plans.yearly]
billing_time = "anniversary"
"""
GRACE_S = 3600.0


def at(text: str) -> datetime:
    """A moment, UTC: ``2026-11-30`` or ``2026-11-30T12:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Office:
    """Uses, prices, closes; times are given as text."""

    def __init__(self, ledger: SqliteLedger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.shelf = BookShelf(ledger)
        self.closer = Closer(self.shelf, GRACE_S)
        self._caller = Caller()

    async def adopt(self, text: str = PRICES) -> int:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return (await self.ledger.adopt_book(text, sha256)).sequence

    async def customer(
        self,
        name: str = "acme",
        timezone: str = "UTC",
        plan: str = "default",
        since: str = "2026-01-01",
    ) -> ApiKey:
        await self.ledger.make_customer(name, timezone=timezone)
        await self.ledger.make_subscription(name, customer=name, plan=plan, started_at=at(since))
        digest = key_digest(name.encode())
        await self.ledger.make_key(
            digest=digest, prefix=f"wb-{name}"[:12], name=None, subscription=name
        )
        key = await self.ledger.key(digest)
        assert key is not None
        return key

    async def start(self, key: ApiKey, when: str, model: str = "gpt-4o") -> OpenCall:
        """Open a request and leave it open."""
        self._caller.at_us = to_us(at(when))
        call = self._caller.call(key, model=model)
        await self.ledger.open(call)
        return call

    async def use(self, key: ApiKey, when: str, model: str = "gpt-4o", **tokens: int) -> OpenCall:
        """A request from beginning to end."""
        call = await self.start(key, when, model)
        assert await self.ledger.settle(settlement(call, usage(**tokens), model=model))
        return call

    async def fail(self, call: OpenCall) -> None:
        """A request that the upstream refuses."""
        failed = settlement(call, usage(), state=RequestState.FAILED, status=500)
        assert await self.ledger.settle(failed)

    async def close(self, now: str, **terms: Any) -> list[Outcome]:
        self.clock.us = to_us(at(now))
        return [outcome async for outcome in self.closer.close_due(at(now), **terms)]

    async def invoice(
        self, now: str, period: str | None = None, name: str = "acme"
    ) -> dict[str, Any]:
        self.clock.us = to_us(at(now))
        book = (await self.shelf.in_force()).book
        return await invoice_json(self.shelf, book, name, at(now), period)


@asynccontextmanager
async def open_office(path: Path) -> AsyncIterator[Office]:
    """An office with a new ledger; the clock stands on 2026-11-20."""
    clock = Clock()
    clock.us = to_us(at("2026-11-20"))
    ledger = await SqliteLedger.open_database(path, clock)
    try:
        yield Office(ledger, clock)
    finally:
        await ledger.close()


def upkeep(office: Office, path: Path) -> BillingUpkeep:
    """What a worker of the office does by itself, with prices at ``path``."""
    return BillingUpkeep(office.shelf, path, grace_s=GRACE_S, now=lambda: from_us(office.clock.us))
