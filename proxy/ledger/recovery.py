"""What a dead worker left open becomes abandoned: estimated, marked as such, and settled.

Nothing of a living worker is touched: the kernel holds a lock for each, as long as it lives.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proxy.core.usage import Measurement, RequestState, Usage, abandoned_usage
from proxy.errors import ProxyError
from proxy.ledger import spool
from proxy.ledger.booking import Booking
from proxy.ledger.identities import Owner
from proxy.ledger.limit_owners import LedgerBook
from proxy.ledger.locks import WorkerLock
from proxy.ledger.port import Settlement

_LOG = logging.getLogger(__name__)

_PAGE = 500


class Recovered(NamedTuple):
    """How many requests were abandoned, and the spool's files that are booked now."""

    abandoned: int
    replayed: list[Path]


def register(connection: sqlite3.Connection, database: Path, now_us: int) -> WorkerLock:
    """Enter a new worker and hold its lock."""
    made = connection.execute(
        "INSERT INTO workers (pid, started_at_us) VALUES (?, ?)", (os.getpid(), now_us)
    )
    return WorkerLock.take(database, made.lastrowid or 0)


def retire(connection: sqlite3.Connection, worker_id: int) -> bool:
    """Forget a worker that left nothing open; otherwise its requests await recovery."""
    left = connection.execute(
        "SELECT 1 FROM requests WHERE settled_at_us IS NULL AND state = 'open' AND worker_id = ?",
        (worker_id,),
    ).fetchone()
    if left is None:
        connection.execute("DELETE FROM workers WHERE id = ?", (worker_id,))
    return left is None


def recover(
    connection: sqlite3.Connection,
    *,
    booking: Booking,
    database: Path,
    worker_id: int,
    now_us: int,
    spool_directory: Path | None,
) -> Recovered:
    """Abandon what dead workers left open, once what they had spooled is booked.

    Runs in a transaction under the write lock. ``deferred`` requests stay as they are.
    ``spool_directory`` is where workers spool, if they do. A dead worker's files are listed when
    its lock is held: it may have written one just before it died.
    """
    abandoned = 0
    replayed: list[Path] = []
    spooled = spool.files(spool_directory) if spool_directory else {}
    for dead in sorted({*_others(connection, worker_id), *spooled} - {worker_id}):
        lock = WorkerLock.take_over(database, dead)
        if lock is None:
            continue
        try:
            if spool_directory is not None:
                for path in spool.files(spool_directory).get(dead, ()):
                    _replay(connection, booking, path)
                    replayed.append(path)
            abandoned += _abandon(connection, booking, dead, now_us)
            connection.execute("DELETE FROM workers WHERE id = ?", (dead,))
        finally:
            lock.remove()
    if abandoned:
        _LOG.warning("%d requests of workers that ended were abandoned", abandoned)
    return Recovered(abandoned, replayed)


def _replay(connection: sqlite3.Connection, booking: Booking, path: Path) -> None:
    for settlement in spool.read_file(path):
        try:
            booking.book_one(connection, settlement)
        except ProxyError as error:
            # One that can never be booked must not keep the others from it, nor its file here.
            _LOG.error("a settlement in %s can't be booked: %s", path.name, error.message)


def _others(connection: sqlite3.Connection, worker_id: int) -> list[int]:
    rows = connection.execute(
        "SELECT id FROM workers UNION SELECT worker_id FROM requests"
        " WHERE settled_at_us IS NULL AND state = 'open'"
    )
    return [row[0] for row in rows if row[0] != worker_id]


def _abandon(connection: sqlite3.Connection, booking: Booking, worker_id: int, now_us: int) -> int:
    count = 0
    for settlement, owner in _left_open(connection, booking, worker_id, now_us):
        count += booking.book_for(connection, settlement, owner)
    return count


def _left_open(
    connection: sqlite3.Connection, booking: Booking, worker_id: int, now_us: int
) -> Iterator[tuple[Settlement, Owner | None]]:
    book = LedgerBook()
    after = -1
    while True:
        rows = connection.execute(
            "SELECT id, key_id, key_digest, subscription_id, opened_at_us, model_requested,"
            " body_bytes FROM requests WHERE settled_at_us IS NULL AND state = 'open'"
            " AND worker_id = ? AND id > ? ORDER BY id LIMIT ?",
            (worker_id, after, _PAGE),
        ).fetchall()
        if not rows:
            return
        book.refresh(connection)
        for request_id, key_id, digest, subscription_id, opened_at_us, model, body_bytes in rows:
            owner = None
            if subscription_id is not None:
                owner = (key_id, subscription_id)
            elif digest is not None:
                owner = booking.known_owner(connection, digest)
            usage = abandoned_usage(model, body_bytes)
            # What would have answered is unknown: the class is that of the model asked for.
            above = book.book.context_class(None, model, usage.input_tokens)
            times = opened_at_us, now_us
            yield _settlement(request_id, times, model, usage, context_class=above), owner
            after = request_id


def _settlement(
    request_id: int, times_us: tuple[int, int], model: str, usage: Usage, *, context_class: str
) -> Settlement:
    opened_at_us, now_us = times_us
    return Settlement(
        request_id=request_id,
        opened_at_us=opened_at_us,
        settled_at_us=now_us,
        key=None,
        key_digest=None,
        key_prefix="",
        model_requested=model,
        model="",
        service_tier="",
        context_class=context_class,
        upstream_status=None,
        measurement=Measurement(state=RequestState.ABANDONED, usage=usage),
    )
