"""Who leads: of the workers that share a ledger, the one that does what only one may do.

The kernel holds the lock for as long as the worker lives, and lets go of it however it ends;
then the next one that asks leads.
"""

import fcntl
import os
from pathlib import Path

from proxy.errors import LedgerUnavailableError

_MODE = 0o600


class LeadLock:
    """A lock file beside the database. It is asked for, never waited for."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lead")
        self._fd: int | None = None

    def take(self) -> bool:
        """Tell whether this worker leads: it does from the first time that it could, on.

        Errors: LedgerUnavailableError where the file can't be opened.
        """
        if self._fd is not None:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        except OSError as error:
            raise LedgerUnavailableError(
                f"Who leads can't be told: {self._path} can't be opened ({error.strerror}). "
                "Check its folder's permissions, and the limit of open files."
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let another one lead."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
