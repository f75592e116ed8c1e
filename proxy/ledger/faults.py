"""What is wrong with the database, said so that an operator knows what to do."""

import errno
import sqlite3
from pathlib import Path

from proxy.errors import LedgerUnavailableError

_ADVICE = (
    ("SQLITE_BUSY", "another program holds the ledger's database locked; end it"),
    ("SQLITE_LOCKED", "another program holds the ledger's database locked; end it"),
    ("SQLITE_FULL", "the disk of the ledger's database is full; free some space"),
    ("SQLITE_READONLY", "the ledger's database is read-only; make its file and folder writable"),
    ("SQLITE_CANTOPEN", "the ledger's database can't be opened; check its folder and permissions"),
    ("SQLITE_IOERR", "the disk of the ledger's database reports errors; check the disk"),
    ("SQLITE_CORRUPT", "the ledger's database is damaged; restore a backup"),
    ("SQLITE_NOTADB", "the ledger's database is not an SQLite file; restore a backup"),
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
PASSING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL")
"""Faults after which the same connection works again by itself."""


def fault_name(error: BaseException) -> str:
    """Return SQLite's name of an error (``SQLITE_FULL``), or the exception's class."""
    return str(getattr(error, "sqlite_errorname", None) or type(error).__name__)


def unavailable(error: BaseException) -> LedgerUnavailableError:
    """Translate a database's or file system's error."""
    if isinstance(error, LedgerUnavailableError):
        return error
    name = fault_name(error)
    return LedgerUnavailableError(f"Usage can't be recorded now ({name}): {_advice(name)}.")


def unusable(error: BaseException, database: Path) -> LedgerUnavailableError:
    """Translate what keeps a ledger from being opened, for the operator who named its file."""
    if isinstance(error, LedgerUnavailableError):
        return error
    if isinstance(error, OSError):
        told = file_fault(error, database)
        return LedgerUnavailableError(f"The ledger {database} can't be used: {told}.")
    name = fault_name(error)
    return LedgerUnavailableError(f"The ledger {database} can't be used ({name}): {_advice(name)}.")


def file_fault(error: OSError, path: Path) -> str:
    """Say what keeps a file from being written, and what to do; ``path`` is the one asked for."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"there is no folder {folder}; make it first, or name another one"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return (
            f"{error.filename or path} can't be written ({error.strerror}); make it and its "
            "folder writable for the user who runs this"
        )
    if error.errno in _FULL:
        return f"its disk is full ({error.strerror}); free some space, or name another place"
    return f"{error.filename or path} fails ({error.strerror or error}); check its disk and folder"


def _advice(name: str) -> str:
    return next(
        (text for start, text in _ADVICE if name.startswith(start)),
        "the ledger's database fails; the log says more",
    )


def is_fault(error: BaseException) -> bool:
    """Tell a fault of the database or disk from a value that it refuses."""
    return isinstance(error, OSError | sqlite3.OperationalError) or (
        isinstance(error, sqlite3.DatabaseError)
        and not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
    )
