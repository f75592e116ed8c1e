"""``weighbridge prune``: the events and requests of closed periods go, sums and invoices stay.

What only events say is kept before they go: how much each key used.

Rows are found without the lock and deleted in small transactions under it, with pauses as long
as these took: whoever serves meanwhile hardly notices.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from proxy.core.periods import midnight
from proxy.core.times import to_us
from proxy.ledger.limit_sums import KEEP_PRUNED
from proxy.ledger.locks import WriteLock

ROWS_AT_ONCE = 500
PAGE = 5_000
CHECKPOINT_EVERY = 40
"""Transactions between two checkpoints, so that the log stays short where nobody serves."""
_KEEP_AND_DELETE = (KEEP_PRUNED, "DELETE FROM events WHERE seq = ?")
_DELETE_REQUEST = ("DELETE FROM requests WHERE id = ? AND settled_at_us IS NOT NULL",)


@dataclass(slots=True, kw_only=True)
class Pruned:
    """What went; ``subscriptions`` counts those with a closed period before the day."""

    subscriptions: int = 0
    events: int = 0
    requests: int = 0


def prune(connection: sqlite3.Connection, path: Path, before: date, now_us: int) -> Pruned:
    """Delete what happened in periods that are closed and ended by ``before``.

    ``before`` begins in each period's own timezone. What still runs stays, whatever its time.
    """
    pruner = _Pruner(connection, path)
    try:
        return pruner.prune(_closed_before(connection, before), now_us)
    finally:
        pruner.close()


def _closed_before(connection: sqlite3.Connection, before: date) -> dict[int, int]:
    """Return up to when each subscription may be pruned."""
    rows = connection.execute(
        "SELECT subscription_id, ends_at_us, timezone FROM closed_periods ORDER BY ends_at_us"
    )
    return {
        subscription_id: ends_at_us
        for subscription_id, ends_at_us, timezone in rows.fetchall()
        if ends_at_us <= to_us(midnight(before, timezone))
    }


class _Pruner:
    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = WriteLock(path)
        self._transactions = 0

    def close(self) -> None:
        """Let go of the lock's file."""
        self._lock.close()

    def prune(self, through_us: dict[int, int], now_us: int) -> Pruned:
        """Prune each subscription up to its time."""
        pruned = Pruned(subscriptions=len(through_us))
        self._note(through_us, now_us)
        for subscription_id, end_us in through_us.items():
            for page in self._events(subscription_id, end_us):
                pruned.events += self._delete(_KEEP_AND_DELETE, page)
        if through_us:
            for page in self._requests(through_us):
                pruned.requests += self._delete(_DELETE_REQUEST, page)
        self._checkpoint()
        return pruned

    def _note(self, through_us: dict[int, int], now_us: int) -> None:
        """Say first what will go: whoever verifies meanwhile must not miss it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO prunings (subscription_id, through_us, pruned_at_us) VALUES (?, ?, ?)"
                " ON CONFLICT (subscription_id) DO UPDATE SET pruned_at_us = excluded.pruned_at_us,"
                " through_us = max(through_us, excluded.through_us)",
                [(owner, end_us, now_us) for owner, end_us in through_us.items()],
            )
            self._connection.execute("COMMIT")

    def _events(self, subscription_id: int, end_us: int) -> Iterator[list[int]]:
        """Find a subscription's events before a time, in the order of their ids.

        An event may be posted long after it happened, so all of them are looked at.
        """
        after = (-(1 << 62), -1)
        while True:
            rows = self._connection.execute(
                "SELECT request_id, n, seq, occurred_at_us FROM events WHERE subscription_id = ?"
                " AND (request_id, n) > (?, ?) ORDER BY request_id, n LIMIT ?",
                (subscription_id, *after, PAGE),
            ).fetchall()
            if not rows:
                return
            after = rows[-1][:2]
            yield [seq for _, _, seq, occurred_at_us in rows if occurred_at_us < end_us]

    def _requests(self, through_us: dict[int, int]) -> Iterator[list[int]]:
        after = -(1 << 62)
        while True:
            rows = self._connection.execute(
                "SELECT id, subscription_id, opened_at_us, settled_at_us FROM requests"
                " WHERE id > ? ORDER BY id LIMIT ?",
                (after, PAGE),
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [
                request_id
                for request_id, owner, opened_at_us, settled_at_us in rows
                if settled_at_us is not None and opened_at_us < through_us.get(owner, 0)
            ]

    def _delete(self, statements: Sequence[str], keys: list[int]) -> int:
        for start in range(0, len(keys), ROWS_AT_ONCE):
            began_s = time.monotonic()
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                rows = [(key,) for key in keys[start : start + ROWS_AT_ONCE]]
                for statement in statements:
                    self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            self._transactions += 1
            if self._transactions % CHECKPOINT_EVERY == 0:
                self._checkpoint()
            time.sleep(time.monotonic() - began_s)
        return len(keys)

    def _checkpoint(self) -> None:
        """Move the log's pages into the database: the bulk without the lock, the rest under it."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        with self._lock:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
