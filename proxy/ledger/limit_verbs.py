"""The ledger's verbs of limits on SQLite."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.core.budgets import LimitStanding
from proxy.core.subscriptions import ApiKey
from proxy.ledger import limit_changes, rows
from proxy.ledger.connection import Reader
from proxy.ledger.limit_owners import LedgerBook
from proxy.ledger.writer import GroupWriter


class SqliteLimits:
    """A part of :class:`proxy.ledger.sqlite.SqliteLedger`, which has these members.

    ``_book_read`` belongs to the reader's thread.
    """

    _clock: Callable[[], int]
    _reader: Reader
    _writer: GroupWriter
    _book_read: LedgerBook

    async def key(self, digest: bytes) -> ApiKey | None:
        """Look a key up by its digest, and whether anything limits it."""
        now_us = self._clock()

        def read(connection: sqlite3.Connection) -> ApiKey | None:
            key = rows.read_key(connection, digest, now_us)
            if key is None:
                return None
            limited = limit_changes.is_limited(
                connection, self._book_read, key.id, key.subscription_id, key.plan
            )
            return replace(key, limited=True) if limited else key

        return await self._reader.read(read)

    async def set_limits(
        self,
        values: Mapping[str, Any],
        *,
        subscription: str | None = None,
        key: str | None = None,
    ) -> None:
        """Set limits of a subscription, or of the key that a prefix or id names, over its plan's.

        ``values`` are fields of :class:`proxy.core.plans.Limits`; None is without limit.
        """

        def change(connection: sqlite3.Connection) -> None:
            subject = limit_changes.find_subject(connection, subscription=subscription, key=key)
            limit_changes.set_limits(connection, subject, values)

        await self._writer.change(change)

    async def clear_limits(
        self, *, subscription: str | None = None, key: str | None = None
    ) -> bool:
        """Forget what was set: the plan's limits hold. False if nothing was set."""

        def change(connection: sqlite3.Connection) -> bool:
            subject = limit_changes.find_subject(connection, subscription=subscription, key=key)
            return limit_changes.clear_limits(connection, subject)

        return await self._writer.change(change)

    async def limits(
        self, subscription: str, *, key_id: int | None = None
    ) -> Sequence[LimitStanding]:
        """Return where a subscription and its keys (or the one) stand, as far as limited."""
        now_us = self._clock()
        return await self._reader.read(
            lambda db: limit_changes.read_standings(
                db, self._book_read, subscription, now_us, key_id
            )
        )

    async def limited(self) -> Sequence[str]:
        """Return the subscriptions for which, or for whose keys, operators set limits."""
        return await self._reader.read(limit_changes.read_limited)
