"""What is deferred, by the upstream's name and the object's id: whose it is, and what waits.

The functions run in a connection's thread; :func:`register` within a transaction of the caller's.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.ledger.connection import Reader
from proxy.ledger.identities import Owner
from proxy.ledger.port import DeferredRequest, Settlement

REPEATED_NOTE = "the same object as an earlier request's, which it is billed with"
_WAITS = "r.settled_at_us IS NULL AND r.state = 'deferred'"
_COLUMNS = (
    "SELECT r.id, coalesce(d.upstream, ''), coalesce(d.object_id, ''), r.subscription_id,"
    " r.endpoint, r.opened_at_us, coalesce(k.digest, r.key_digest), coalesce(k.prefix, ''),"
    f" r.model_requested, r.body_bytes, {_WAITS}"
)
_OBJECT = (
    "SELECT d.request_id, d.upstream, d.object_id, d.subscription_id, coalesce(r.endpoint, ''),"
    " coalesce(r.opened_at_us, 0), coalesce(k.digest, r.key_digest), coalesce(k.prefix, ''),"
    f" coalesce(r.model_requested, ''), coalesce(r.body_bytes, 0), coalesce({_WAITS}, 0)"
    " FROM deferred AS d LEFT JOIN requests AS r ON r.id = d.request_id"
    " LEFT JOIN api_keys AS k ON k.id = r.key_id WHERE d.object_id = ? ORDER BY d.upstream"
)
_WAITING = (
    f"{_COLUMNS} FROM requests AS r INDEXED BY requests_unsettled"
    " LEFT JOIN deferred AS d ON d.request_id = r.id"
    f" LEFT JOIN api_keys AS k ON k.id = r.key_id WHERE {_WAITS} AND r.id > ?"
    " ORDER BY r.id LIMIT ?"
)


def register(
    connection: sqlite3.Connection, settlement: Settlement, owner: Owner | None
) -> Settlement:
    """Keep whose an object is; return the settlement to book.

    An object that an earlier request made (the upstream answered a retry with it) is billed with
    that one: this one is settled, and used nothing.
    """
    made = settlement.object
    if made is None or owner is None:
        return settlement
    place = made.id, made.upstream
    connection.execute(
        "INSERT OR IGNORE INTO deferred (object_id, upstream, request_id, subscription_id)"
        " VALUES (?, ?, ?, ?)",
        (*place, settlement.request_id, owner[1]),
    )
    (number,) = connection.execute(
        "SELECT request_id FROM deferred WHERE object_id = ? AND upstream = ?", place
    ).fetchone()
    if number == settlement.request_id:
        return settlement
    usage = Usage(quantities=(), notes=(REPEATED_NOTE,))
    return msgspec.structs.replace(
        settlement, measurement=Measurement(state=RequestState.EXACT, usage=usage)
    )


def read_object(connection: sqlite3.Connection, object_id: str) -> list[DeferredRequest]:
    """Return who made an object of this id, at each upstream."""
    return [_request(row) for row in connection.execute(_OBJECT, (object_id,))]


def read_waiting(connection: sqlite3.Connection, after: int, limit: int) -> list[DeferredRequest]:
    """Return the next requests whose usage comes later, by request id."""
    return [_request(row) for row in connection.execute(_WAITING, (after, limit))]


def _request(row: Sequence[Any]) -> DeferredRequest:
    number, upstream, object_id, subscription_id, *others, waits = row
    endpoint, opened_at_us, digest, prefix, model, body_bytes = others
    return DeferredRequest(
        request_id=number,
        upstream=upstream,
        object_id=object_id,
        subscription_id=subscription_id,
        endpoint=endpoint,
        opened_at_us=opened_at_us,
        key_digest=digest,
        key_prefix=prefix,
        model_requested=model,
        body_bytes=body_bytes,
        waits=bool(waits),
    )


class SqliteDeferred:
    """A part of :class:`proxy.ledger.sqlite.SqliteLedger`, which has these members."""

    _reader: Reader

    async def deferred(self, object_id: str) -> Sequence[DeferredRequest]:
        """Return who made an upstream's object of this id: one request for each upstream."""
        return await self._reader.read(lambda db: read_object(db, object_id))

    async def waiting(self, *, after: int = 0, limit: int = 500) -> Sequence[DeferredRequest]:
        """Return the next requests whose usage comes later, by request id."""
        return await self._reader.read(lambda db: read_waiting(db, after, limit))
