"""What a dead worker left open becomes abandoned: estimated, marked as such, and settled.

Nothing of a living worker is touched: the kernel holds a lock for each, as long as it lives.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
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
_LARGEST_ID = (1 << 63) - 1


class Recovered(NamedTuple):
    """How many requests were abandoned, and what became of the spool's files.

    Those that are ``replayed`` are booked now; those that were ``left`` are not this ledger's, or
    not all of what they hold.
    """

    abandoned: int
    replayed: list[Path]
    left: list[Path]


class Entered(NamedTuple):
    """A new worker's lock, and the number of the ledger that it works on."""

    lock: WorkerLock
    ledger_id: int


def register(connection: sqlite3.Connection, database: Path, now_us: int) -> Entered:
    """Enter a new worker and hold its lock; the first one gives the ledger its number."""
    made = connection.execute(
        "INSERT INTO workers (pid, started_at_us) VALUES (?, ?)", (os.getpid(), now_us)
    )
    # Kept in the ledger, not made of its path: it is the same one when it was moved or restored.
    connection.execute(
        "INSERT OR IGNORE INTO meta (name, value) VALUES ('ledger_id', random() & ?)",
        (_LARGEST_ID,),
    )
    (ledger_id,) = connection.execute("SELECT value FROM meta WHERE name = 'ledger_id'").fetchone()
    return Entered(WorkerLock.take(database, made.lastrowid or 0), ledger_id)


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
    spooled: Callable[[], Mapping[int, list[Path]]],
) -> Recovered:
    """Abandon what dead workers left open, once what they had spooled is booked.

    Runs in a transaction under the write lock. ``deferred`` requests stay as they are.
    ``spooled`` lists the spool's files by worker. A dead worker's are listed when its lock is held:
    it may have written one just before it died.
    """
    abandoned = 0
    replayed: list[Path] = []
    left: list[Path] = []
    for dead in sorted({*_others(connection, worker_id), *spooled()} - {worker_id}):
        lock = WorkerLock.take_over(database, dead)
        if lock is None:
            continue
        try:
            for path in spooled().get(dead, ()):
                booked = _replay(connection, booking, path)
                (replayed if booked else left).append(path)
            abandoned += _abandon(connection, booking, dead, now_us)
            connection.execute("DELETE FROM workers WHERE id = ?", (dead,))
        finally:
            lock.remove()
    if abandoned:
        _LOG.warning("%d requests of workers that ended were abandoned", abandoned)
    return Recovered(abandoned, replayed, left)


def _replay(connection: sqlite3.Connection, booking: Booking, path: Path) -> bool:
    """Book what a file holds of this ledger's requests; False where it must stay.

    One that names no ledger is booked as a whole or not at all: ids are made of the time, so
    another ledger may have a request of the same one.
    """
    named = spool.names_its_ledger(path)
    settlements = list(spool.read_file(path))
    ours = [each for each in settlements if _opened_here(connection, each, by_id=named)]
    others = len(settlements) - len(ours)
    if others:
        _LOG.warning(
            "the spool's %s stays: this ledger does not have the requests of %d of its %d "
            "settlements. It is another ledger's, or this one was restored from an older copy; "
            "where it is neither, move the file away",
            path.name,
            others,
            len(settlements),
        )
    if not named and (others or not settlements):
        return False
    for settlement in ours:
        try:
            booking.book_one(connection, settlement)
        except ProxyError as error:
            # One that can never be booked must not keep the others from it, nor its file here.
            _LOG.error("a settlement in %s can't be booked: %s", path.name, error.message)
    return not others


def _opened_here(connection: sqlite3.Connection, settlement: Settlement, *, by_id: bool) -> bool:
    """Tell whether the request is this ledger's: by its id alone, or by its time as well."""
    row = connection.execute(
        "SELECT opened_at_us FROM requests WHERE id = ?", (settlement.request_id,)
    ).fetchone()
    return row is not None and (by_id or row[0] == settlement.opened_at_us)


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
