"""What the ledger's tests say to it, and what they read past it."""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from proxy.core.ids import RequestIds
from proxy.core.subscriptions import ApiKey, key_digest
from proxy.core.usage import Measurement, Metric, Quantity, RequestState, TokenType, Usage
from proxy.ledger.port import Ledger, OpenCall, Settlement

START_US = 1_796_083_200_000_000
"""2026-12-01T00:00:00Z."""

START = datetime(2026, 12, 1, tzinfo=UTC)


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.us = START_US

    def __call__(self) -> int:
        return self.us


class Caller:
    """Makes requests of one worker."""

    def __init__(self, worker: int = 1, at_us: int = START_US) -> None:
        self._ids = RequestIds(worker)
        self.at_us = at_us

    def call(
        self,
        key: ApiKey | None = None,
        *,
        digest: bytes | None = None,
        body_bytes: int = 400,
        model: str = "gpt-4o",
    ) -> OpenCall:
        return OpenCall(
            id=self._ids.make(self.at_us // 1000),
            opened_at_us=self.at_us,
            key=key,
            key_digest=digest,
            key_prefix="wb-abcdefghi",
            endpoint="chat/completions",
            model=model,
            stream=False,
            body_bytes=body_bytes,
            attempt=0,
        )


def usage(**tokens: int) -> Usage:
    """Usage of token types by name."""
    return Usage(
        quantities=tuple(
            Quantity(metric=Metric.TOKENS, type=TokenType(kind), quantity=quantity)
            for kind, quantity in tokens.items()
        )
    )


def settlement(
    call: OpenCall,
    used: Usage | None = None,
    *,
    state: RequestState = RequestState.EXACT,
    status: int | None = 200,
    model: str = "gpt-4o-2024-08-06",
) -> Settlement:
    return Settlement(
        request_id=call.id,
        opened_at_us=call.opened_at_us,
        settled_at_us=call.opened_at_us + 1_000_000,
        key=call.key,
        key_digest=call.key_digest,
        key_prefix=call.key_prefix,
        model_requested=call.model,
        model=model,
        service_tier="default",
        context_class="",
        upstream_status=status,
        measurement=Measurement(
            state=state, usage=used or usage(input=10, output=5), raw=b'{"total_tokens":15}'
        ),
    )


async def make_key(ledger: Ledger, customer: str = "acme", secret: bytes = b"s1") -> ApiKey:
    """Make a customer, a subscription and a key of the same name."""
    await ledger.make_customer(customer)
    await ledger.make_subscription(customer, customer=customer, plan="default", started_at=START)
    digest = key_digest(customer.encode() + secret)
    await ledger.make_key(
        digest=digest, prefix=f"wb-{customer}"[:12], name="laptop", subscription=customer
    )
    key = await ledger.key(digest)
    assert key is not None
    return key


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Look into the file past the ledger."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def states(path: Path) -> dict[int, str]:
    """The state of every request."""
    with database(path) as connection:
        return dict(connection.execute("SELECT id, state FROM requests"))


def assert_sums_equal_events(path: Path) -> None:
    """The ledger's promise: quarters and days are the sums of the events, and nothing else."""
    with database(path) as connection:
        for table, slot, width_us in (
            ("sums_quarter", "quarter", 900_000_000),
            ("sums_day", "day", 86_400_000_000),
        ):
            kept = connection.execute(
                f"SELECT series_id, {slot}, quantity FROM {table} ORDER BY 1, 2"
            ).fetchall()
            derived = connection.execute(
                "SELECT series_id, occurred_at_us / ?, sum(quantity) FROM events"
                " GROUP BY 1, 2 ORDER BY 1, 2",
                (width_us,),
            ).fetchall()
            assert kept == derived
        (lost,) = connection.execute(
            "SELECT count(*) FROM requests AS r WHERE settled_at_us IS NOT NULL"
            " AND subscription_id IS NOT NULL AND (SELECT count(*) FROM events AS e"
            " JOIN series AS s ON s.id = e.series_id WHERE e.request_id = r.id AND e.n = 0"
            " AND s.metric = 'requests' AND s.type = r.state AND s.source = r.state) <> 1"
        ).fetchone()
        assert lost == 0
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
