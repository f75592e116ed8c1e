"""How commands that look after a ledger reach its file: one that is there already."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from proxy.errors import NotFoundError
from proxy.ledger.connection import configure, refuse_foreign_log
from proxy.ledger.faults import unusable
from proxy.ledger.locks import WriteLock
from proxy.ledger.migrate import check_version, migrate


def require_ledger(path: Path) -> None:
    """Refuse to look at a ledger that is not there, lest an empty one be made and read."""
    if not path.is_file():
        raise NotFoundError(
            f"There is no ledger at {path.absolute()}: name it in PROXY_DATABASE_URL, or start "
            "where it is."
        )


@contextmanager
def maintained(path: Path, *, up_to_date: bool) -> Iterator[sqlite3.Connection]:
    """Connect to a ledger that is there; ``up_to_date`` brings its schema to this program's first.

    Raises:
        NotFoundError: There is no such file; it is not made.
        SettingsError: It is newer than this program, or no ledger.
        LedgerUnavailableError: It can't be read or written.
    """
    require_ledger(path)
    try:
        refuse_foreign_log(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            configure(connection, reads_only=False)
            check_version(connection)
            if up_to_date:
                lock = WriteLock(path)
                try:
                    with lock:
                        migrate(connection)
                finally:
                    lock.close()
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise unusable(error, path) from error


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Read as of one moment; keep it short, for the log can't be reset meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")
