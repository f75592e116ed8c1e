"""Lock files: one for all writes to a database, and one that each worker holds while it lives.

``flock`` and not SQLite's busy handler: that one sleeps between attempts, a waiter here is woken.
A lock belongs to an open file, so every thread that locks needs a :class:`WriteLock` of its own.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

_MODE = 0o600


class WriteLock:
    """``with`` it around every write transaction and checkpoint; it blocks until it is free."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Take the lock; ``OSError`` where the file can't be made."""
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the lock; the file stays open for the next time."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class WorkerLock:
    """Held while a worker lives; the kernel lets go of it however the worker ends."""

    def __init__(self, path: Path, fd: int, worker_id: int) -> None:
        self.path = path
        self.worker_id = worker_id
        self._fd = fd

    @classmethod
    def take(cls, database: Path, worker_id: int) -> Self:
        """Make and hold the lock of a new worker. Call it under the :class:`WriteLock`."""
        path = worker_path(database, worker_id)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return cls(path, fd, worker_id)

    @classmethod
    def take_over(cls, database: Path, worker_id: int) -> Self | None:
        """Take a dead worker's lock; None if it is alive. A lock without a file is a dead one's.

        Call it under the :class:`WriteLock`: a new worker makes its file under it.
        """
        try:
            return cls.take(database, worker_id)
        except BlockingIOError:
            return None

    def remove(self) -> None:
        """Remove the file and let go of the lock."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of the lock and leave the file: what is open may be recovered by others."""
        os.close(self._fd)


def worker_path(database: Path, worker_id: int) -> Path:
    """Return the path of a worker's lock file."""
    return database.with_name(f"{database.name}.worker-{worker_id}")
