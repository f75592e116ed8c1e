"""Whose request it is: subscriptions by key or digest, and their segments by time."""

import sqlite3
from typing import NamedTuple

from proxy.core.subscriptions import NO_SECRET, key_digest
from proxy.ledger import keys, rows

END_OF_TIME_US = 1 << 62
ADOPTED_PLAN = "default"
_NAMELESS = "no-key"
"""Whose the preflights of browsers are."""
_REMEMBERED = 20_000


Owner = tuple[int | None, int]
"""Whom a request is booked to: its key, if that is known, and its subscription, by number."""


class Span(NamedTuple):
    """A segment's time, ``[starts_us, ends_us)``."""

    starts_us: int
    ends_us: int
    segment_id: int


class Identities:
    """What the writer knows of keys and subscriptions as of one configuration sequence.

    A key that is known never changes its subscription, and a segment's start never moves, so
    only revocations and plan changes need the sequence to be looked at: at each opening. What
    was learnt in a transaction that was rolled back must be forgotten: :meth:`forget`.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self._owners: dict[bytes, Owner] = {}
        self._spans: dict[int, tuple[Span, ...]] = {}
        self._revoked: dict[int, bool] = {}

    def forget(self) -> None:
        """Forget everything; the next opening reads it anew."""
        self.__init__()  # type: ignore[misc]

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Forget everything and take note of the sequence as it is now."""
        self.forget()
        self.sequence = rows.read_sequence(connection)

    def is_revoked(self, connection: sqlite3.Connection, key_id: int) -> bool:
        """Tell whether a key is revoked (or not there at all)."""
        revoked = self._revoked.get(key_id)
        if revoked is None:
            row = connection.execute(
                "SELECT revoked_at_us IS NOT NULL FROM api_keys WHERE id = ?", (key_id,)
            ).fetchone()
            revoked = self._revoked[key_id] = row is None or bool(row[0])
        return revoked

    def segment_id(
        self, connection: sqlite3.Connection, subscription_id: int, at_us: int
    ) -> int | None:
        """Return the segment at a time: the first before the start, None if there is none."""
        spans = self._spans.get(subscription_id)
        if spans is None:
            if len(self._spans) > _REMEMBERED:
                self._spans.clear()
            spans = self._spans[subscription_id] = _read_spans(connection, subscription_id)
        for span in spans:
            if span.starts_us <= at_us:
                return span.segment_id
        return spans[-1].segment_id if spans else None

    def owner(self, connection: sqlite3.Connection, digest: bytes) -> Owner | None:
        """Return whom a key's digest names, if it is known."""
        owner = self._owners.get(digest)
        if owner is None:
            row = connection.execute(
                "SELECT id, subscription_id FROM api_keys WHERE digest = ?", (digest,)
            ).fetchone()
            if row is None:
                return None
            if len(self._owners) > _REMEMBERED:
                self._owners.clear()
            owner = self._owners[digest] = (row[0], row[1])
        return owner

    def adopt(
        self, connection: sqlite3.Connection, digest: bytes, prefix: str, at_us: int
    ) -> Owner:
        """Make the customer, subscription and key of a passthrough key that works."""
        name = _NAMELESS if digest == key_digest(NO_SECRET) else f"key-{digest.hex()[:12]}"
        keys.insert_customer(connection, name, {}, at_us)
        keys.make_subscription(connection, name, name, ADOPTED_PLAN, (at_us, at_us))
        keys.insert_key(connection, digest, (prefix, None), name, at_us)
        owner = self.owner(connection, digest)
        if owner is None:
            msg = "an adopted key can't be read back"
            raise sqlite3.DatabaseError(msg)
        return owner


def _read_spans(connection: sqlite3.Connection, subscription_id: int) -> tuple[Span, ...]:
    spans = connection.execute(
        "SELECT starts_at_us, coalesce(ends_at_us, ?), id FROM segments"
        " WHERE subscription_id = ? ORDER BY starts_at_us DESC",
        (END_OF_TIME_US, subscription_id),
    )
    return tuple(Span(*row) for row in spans)
