"""The writer's side of a batch: one lock, one transaction, one commit.

Everything here runs in the writer connection's thread.
"""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

from proxy.errors import BadRequestError, ConflictError, ProxyError
from proxy.ledger.batch import Batch, Change
from proxy.ledger.booking import Booking, UnexpectedRowsError
from proxy.ledger.faults import is_fault, unavailable
from proxy.ledger.locks import WriteLock
from proxy.ledger.port import Admission, OpenCall, Refusal, Settlement

_LOG = logging.getLogger(__name__)

Fault = Callable[[str], None]
"""Called at named points, so that tests can end the process there."""


class Transactions:
    """Writes batches under the database's lock."""

    def __init__(self, database: Path, booking: Booking, fault: Fault) -> None:
        self._lock = WriteLock(database)
        self._booking = booking
        self._fault = fault

    def write(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Write a batch and set its outcomes; what has none when this raises was not written."""
        with self._lock:
            if batch.changes.items:
                batch.changes.outcomes = [
                    self._change(connection, change) for change in batch.changes.items
                ]
            if batch.opens.items or batch.settles.items:
                try:
                    self._write_together(connection, batch)
                except Exception as error:
                    if is_fault(error):
                        raise
                    self._write_one_by_one(connection, batch)

    def close(self) -> None:
        """Close the lock's file."""
        self._lock.close()

    def _change(self, connection: sqlite3.Connection, change: Change) -> object:
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._booking.changed()
            outcome = change(connection)
            self._booking.finish(connection)
            self._booking.changed()
            self._commit(connection, "change")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, ProxyError):
                return error
            if not isinstance(error, Exception):
                raise
            _LOG.warning("a change of the ledger failed", exc_info=error)
            return unavailable(error)
        return outcome

    def _write_together(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Write all in bulk, taking every row to be new; roll back if one was not."""
        calls, settlements = batch.opens.items, batch.settles.items
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Settlements first: what they give back is there for those who ask.
            if settlements:
                self._booking.book(connection, settlements)
            admissions = self._booking.admit(connection, calls) if calls else []
            self._booking.finish(connection)
            self._commit(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        batch.opens.outcomes = admissions
        batch.settles.outcomes = (True,) * len(settlements)

    def _write_one_by_one(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Write each on its own, still in one transaction: one bad value harms no neighbour."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            applied = [self._settle(connection, item) for item in batch.settles.items]
            admissions = [self._open(connection, call) for call in batch.opens.items]
            self._commit(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        batch.opens.outcomes = admissions
        batch.settles.outcomes = applied

    def _open(
        self, connection: sqlite3.Connection, call: OpenCall
    ) -> Admission | Refusal | ProxyError:
        try:
            with _Savepoint(connection, self._booking):
                outcome = self._booking.admit(connection, [call])[0]
                self._booking.finish(connection)
                return outcome
        except Exception as error:
            if is_fault(error):
                raise
            return _refused_value(error)

    def _settle(self, connection: sqlite3.Connection, settlement: Settlement) -> bool | ProxyError:
        try:
            with _Savepoint(connection, self._booking):
                applied = self._booking.book_one(connection, settlement)
                self._booking.finish(connection)
                return applied
        except Exception as error:
            if is_fault(error):
                raise
            return _refused_value(error)

    def _commit(self, connection: sqlite3.Connection, what: str = "commit") -> None:
        self._fault(f"before_{what}")
        connection.execute("COMMIT")
        self._booking.committed()
        self._fault(f"after_{what}")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        self._booking.forget()
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class _Savepoint:
    """A part of a transaction that is undone on its own where it raises."""

    def __init__(self, connection: sqlite3.Connection, booking: Booking) -> None:
        self._connection = connection
        self._booking = booking

    def __enter__(self) -> None:
        self._connection.execute("SAVEPOINT one")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._connection.in_transaction:
            self._booking.forget()
            self._connection.execute("ROLLBACK TO one")
        if self._connection.in_transaction:
            self._connection.execute("RELEASE one")


def _refused_value(error: Exception) -> ProxyError:
    if isinstance(error, ProxyError):
        return error
    if isinstance(error, sqlite3.IntegrityError | UnexpectedRowsError):
        return ConflictError("There is a request with this id already: make a new id.")
    return BadRequestError(f"The ledger can't keep a value of this request: {error}.")
