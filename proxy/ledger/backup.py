"""``weighbridge backup``: a copy of the ledger as of one moment, made while it is being written.

SQLite's online backup goes in steps and begins anew when another process writes in between.
Where that happens, the copy is made in one go: a single snapshot, whose only cost to the writers
is that the log grows until it is done.
"""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from proxy.errors import BadRequestError, ConflictError
from proxy.ledger.faults import fault_name, file_fault

STEP_PAGES = 2_048
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_WRITING = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE")
"""The copy's faults: the ledger itself is only read."""


class _BegunAnewError(Exception):
    """Somebody wrote between two steps."""


def back_up(source: sqlite3.Connection, target: Path) -> int:
    """Copy the ledger to ``target``, durably; return its size in bytes.

    The file appears when it is whole, under its name at once, and never in another's place.

    Raises:
        ConflictError: ``target`` is there already.
        BadRequestError: It can't be written there.
    """
    try:
        return _back_up(source, target)
    except OSError as error:
        raise BadRequestError(f"{target} can't be written: {file_fault(error, target)}.") from error
    except sqlite3.Error as error:
        name = fault_name(error)
        if not name.startswith(_WRITING):
            raise
        what = "is full" if name == "SQLITE_FULL" else f"reports errors ({name})"
        raise BadRequestError(
            f"{target} can't be written: its disk {what}; free some space, or name another place."
        ) from error


def _back_up(source: sqlite3.Connection, target: Path) -> int:
    if target.exists():
        raise _is_there(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _copy(source, partial)
        _sync(partial)
        _name(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    _sync(target.parent)
    return target.stat().st_size


def _name(partial: Path, target: Path) -> None:
    """Give the finished copy its name, unless that is another file's."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise _is_there(target) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise BadRequestError(
            f"{target} can't be written: the file system of {target.absolute().parent} has no hard "
            f"links ({error.strerror}), by which a whole copy gets its name; back up into a folder "
            "on another one, and copy the file from there."
        ) from error


def _copy(source: sqlite3.Connection, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        least: int | None = None

        def watch(_status: int, remaining: int, _total: int) -> None:
            nonlocal least
            if least is not None and remaining > least:
                raise _BegunAnewError
            least = remaining

        try:
            source.backup(copy, pages=STEP_PAGES, progress=watch, sleep=0)
        except _BegunAnewError:
            source.backup(copy, pages=-1)
        # One file, without a log beside it; the program that opens it makes it a ledger's again.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_there(target: Path) -> ConflictError:
    return ConflictError(f"{target} is there already: name another file, or move it away first.")
