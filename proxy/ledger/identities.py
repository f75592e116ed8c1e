"""Whose request it is: subscriptions by key or digest, and their segments by time."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from proxy.core.plans import DEFAULT_PLAN
from proxy.core.subscriptions import NO_SECRET, key_digest
from proxy.core.times import in_force
from proxy.ledger import changes, rows
from proxy.ledger.limit_owners import LedgerBook
from proxy.ledger.port import OpenCall, Refusal

_NAMELESS = "no-key"
"""Whose the preflights of browsers are."""
_REMEMBERED = 20_000


Owner = tuple[int | None, int]
"""Whom a request is booked to: its key, if that is known, and its subscription, by number."""


class Span(NamedTuple):
    """From when a segment counts; the next one ends it."""

    starts_us: int
    segment_id: int


class Identities:
    """What the writer knows of keys and subscriptions as of one configuration sequence.

    A key that is known never changes its subscription, and a segment's start never moves, so
    only revocations and plan changes need the sequence to be looked at: at each opening. Keys
    that work are remembered for as long as it stays. What was learnt in a transaction that was
    rolled back must be forgotten: :meth:`forget`.
    """

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self.sequence = 0
        self._owners: dict[bytes, Owner] = {}
        self._spans: dict[int, tuple[Span, ...]] = {}
        self._working: set[int] = set()

    def forget(self) -> None:
        """Forget everything; the next opening reads it anew."""
        self.__init__(self._book)  # type: ignore[misc]

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Forget everything and take note of the sequence as it is now."""
        self.forget()
        self.sequence = rows.read_sequence(connection)

    def refuse_revoked(
        self, connection: sqlite3.Connection, calls: Sequence[OpenCall]
    ) -> dict[int, Refusal]:
        """Return the refusals, by request, of those whose key is revoked (or not there at all)."""
        refused = {}
        for call in calls:
            key = call.key
            if key is None or key.id in self._working or self._works(connection, key.id):
                continue
            refused[call.id] = Refusal(
                status=401,
                code="invalid_api_key",
                message=f"The API key {call.key_prefix}… was revoked: use another one.",
            )
        return refused

    def _works(self, connection: sqlite3.Connection, key_id: int) -> bool:
        row = connection.execute(
            "SELECT 1 FROM api_keys WHERE id = ? AND revoked_at_us IS NULL", (key_id,)
        ).fetchone()
        if row is None:
            return False
        if len(self._working) > _REMEMBERED:
            self._working.clear()
        self._working.add(key_id)
        return True

    def segment_id(
        self, connection: sqlite3.Connection, subscription_id: int, at_us: int
    ) -> int | None:
        """Return the segment in force at a time, None if there is none at all."""
        spans = self._spans.get(subscription_id)
        if spans is None:
            if len(self._spans) > _REMEMBERED:
                self._spans.clear()
            spans = self._spans[subscription_id] = _read_spans(connection, subscription_id)
        return in_force(spans, at_us) if spans else None

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
        """Make the customer, subscription and key of a passthrough key that works.

        Its customer is billed as all are, in the currency of the book in force.
        """
        name = _NAMELESS if digest == key_digest(NO_SECRET) else f"key-{digest.hex()[:12]}"
        self._book.refresh(connection)
        changes.insert_customer(connection, name, {"currency": self._book.book.currency}, at_us)
        changes.make_subscription(connection, name, name, DEFAULT_PLAN, (at_us, at_us))
        changes.insert_key(connection, digest, (prefix, None), name, at_us)
        owner = self.owner(connection, digest)
        if owner is None:
            msg = "an adopted key can't be read back"
            raise sqlite3.DatabaseError(msg)
        return owner


def _read_spans(connection: sqlite3.Connection, subscription_id: int) -> tuple[Span, ...]:
    spans = connection.execute(
        "SELECT starts_at_us, id FROM segments WHERE subscription_id = ?"
        " ORDER BY starts_at_us DESC",
        (subscription_id,),
    )
    return tuple(Span(*row) for row in spans)
