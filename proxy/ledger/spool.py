"""The settle spool: where settlements go, fsynced, while the ledger can't take them.

One folder, beside the database unless it is set; ledgers may share one, since files are named
after theirs. Each worker appends to a file of its own, a line a settlement: CRC-32 in hex, a
space, JSON. A line counts once it is on the disk; a torn one was never acknowledged, and is passed
over. What is replayed twice is settled once: the ledger sees to it. Files of a worker that died
are replayed by whoever recovers it, before anything is abandoned.

Older versions did not name the ledger: whose such a file is shows in whose requests it settles.
"""

import asyncio
import errno
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from proxy.core.usage import RequestState
from proxy.errors import LedgerUnavailableError, ProxyError
from proxy.ledger.port import Settlement

_LOG = logging.getLogger("weighbridge")
_NAME = re.compile(r"(?:ledger-([0-9a-f]{16})-)?worker-(\d+)-(\d+)\.spool")
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Settlement)
_CRC_DIGITS = 8
_MODE = 0o600
DAMAGED = ".damaged"
"""Ends the name of a file that is put aside, to be looked at by its operator."""
REPLAYED_AT_ONCE = 256


def write_line(settlement: Settlement) -> bytes:
    """Return the line that keeps a settlement."""
    text = _encode(settlement)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def read_file(path: Path) -> Iterator[Settlement]:
    """Yield the settlements of a file; lines that are torn or damaged are logged and left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if _is_sound(line):
            yield _decoder.decode(line[_CRC_DIGITS + 1 :])
        else:
            _LOG.error("line %d of %s is torn or damaged: it is left out", number, path.name)


def _is_damaged(path: Path) -> bool:
    """Whether a line was written whole and can't be read: it may have been acknowledged."""
    *lines, _torn = path.read_bytes().split(b"\n")
    return any(line and not _is_sound(line) for line in lines)


def _is_sound(line: bytes) -> bool:
    return line[:_CRC_DIGITS] == b"%08x" % zlib.crc32(line[_CRC_DIGITS + 1 :])


def file_name(ledger_id: int, worker_id: int, number: int) -> str:
    """Return the name of a worker's file, which tells whose it is."""
    return f"ledger-{ledger_id:016x}-worker-{worker_id}-{number}.spool"


def names_its_ledger(path: Path) -> bool:
    """Tell whether a file's name says whose it is."""
    match = _NAME.fullmatch(path.name)
    return match is not None and match[1] is not None


def files(directory: Path, ledger_id: int) -> dict[int, list[Path]]:
    """Return the files of each worker of a ledger, oldest first, and those that name no ledger."""
    found: dict[int, list[tuple[int, Path]]] = {}
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return {}
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None and match[1] in {None, f"{ledger_id:016x}"}:
            found.setdefault(int(match[2]), []).append((int(match[3]), directory / name))
    return {worker_id: [path for _, path in sorted(rows)] for worker_id, rows in found.items()}


def remove(paths: Iterable[Path]) -> None:
    """Remove files whose settlements are all in the ledger; a damaged one is put aside."""
    for path in paths:
        try:
            if _is_damaged(path):
                path.rename(path.with_name(path.name + DAMAGED))
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        _LOG.warning("the settlements of the spool's %s are in the ledger now", path.name)


def not_removed(directory: Path, error: OSError) -> LedgerUnavailableError:
    """Say why files stay whose settlements are all in the ledger."""
    return LedgerUnavailableError(
        f"The spool in {directory} is booked, but its files can't be removed ({error.strerror}): "
        "make the folder writable."
    )


async def _settle_all(
    settlements: Sequence[Settlement],
    settle: Callable[[Settlement], asyncio.Future[bool]],
    place: str,
) -> None:
    """Settle what was in a place, in batches that the ledger takes at once."""
    for start in range(0, len(settlements), REPLAYED_AT_ONCE):
        batch = settlements[start : start + REPLAYED_AT_ONCE]
        outcomes = await asyncio.gather(
            *[settle(settlement) for settlement in batch], return_exceptions=True
        )
        _check(place, outcomes)


def _check(place: str, outcomes: Iterable[bool | BaseException]) -> None:
    """Raise where the ledger took none; one that it never will take must not hold up the rest."""
    for outcome in outcomes:
        if isinstance(outcome, ProxyError) and not isinstance(outcome, LedgerUnavailableError):
            _LOG.error("a settlement in %s can't be booked: %s", place, outcome.message)
        elif isinstance(outcome, BaseException):
            raise outcome


class Spool:
    """One worker's spool."""

    def __init__(self, directory: Path, worker_id: int, ledger_id: int) -> None:
        self._directory = directory
        self._worker_id = worker_id
        self._ledger_id = ledger_id
        self._number = 0
        self._files: list[Path] = []
        self._descriptor: int | None = None
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._unkept: dict[tuple[int, int, RequestState], Settlement] = {}
        """Once each, however often it is tried again: who polls does so as long as it waits."""
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._spooled = 0

    @property
    def pending(self) -> int:
        """How many settlements the ledger does not have yet, on the disk or only in memory."""
        return self._spooled + len(self._unkept)

    async def append(self, settlement: Settlement) -> None:
        """Keep a settlement; it is on the disk when this returns.

        Errors: LedgerUnavailableError where the spool can't be written either. It is not durable
        then, and whoever waits must be told so; but as long as this worker lives, nobody else can
        settle the request: it goes to the ledger with the next replay.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((write_line(settlement), done))
        if self._task is None:
            self._task = loop.create_task(self._flush())
        try:
            await done
        except LedgerUnavailableError:
            state = settlement.measurement.state
            self._unkept[settlement.request_id, settlement.appended_from, state] = settlement
            raise

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: LedgerUnavailableError | None = None
            try:
                text = b"".join([line for line, _ in batch])
                await loop.run_in_executor(self._thread, self._write, text)
            except OSError as reason:
                error = LedgerUnavailableError(
                    f"Neither the ledger nor its spool in {self._directory} can be written "
                    f"({reason.strerror}): check their disk."
                )
                _LOG.error("%s", error.message)
            else:
                self._spooled += len(batch)
            for _, done in batch:
                if not done.done():
                    done.set_result(None) if error is None else done.set_exception(error)
        self._task = None

    def _write(self, text: bytes) -> None:
        if self._descriptor is None:
            self._open()
        descriptor = self._descriptor
        assert descriptor is not None  # noqa: S101 - it has just been opened
        size = os.fstat(descriptor).st_size
        try:
            left = text
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            self._take_back(descriptor, size)
            raise

    def _take_back(self, descriptor: int, size: int) -> None:
        """Let no half a batch stay, whose lines are reported as not kept."""
        try:
            os.ftruncate(descriptor, size)
        except OSError:
            # Behind a line that is torn, the next one could not be read either.
            self._turn_over()
            raise

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        descriptor = self._new_file()
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EINVAL:  # which is: no folder of this file system can be synced
                os.close(descriptor)
                raise
        finally:
            os.close(folder)
        self._descriptor = descriptor

    def _new_file(self) -> int:
        # A ledger that was restored from an older copy gives a worker's number again: what the
        # first one of that number left is no file of this one.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        while True:
            self._number += 1
            path = self._directory / file_name(self._ledger_id, self._worker_id, self._number)
            try:
                descriptor = os.open(path, flags, _MODE)
            except FileExistsError:
                continue
            self._files.append(path)
            return descriptor

    async def replay(self, settle: Callable[[Settlement], asyncio.Future[bool]]) -> int:
        """Bring what is spooled into the ledger; return how many settlements that were.

        Errors: LedgerUnavailableError where the ledger still takes none, or the spool can't be
        read; all stays as it is.
        """
        try:
            return await self._replay(settle)
        except OSError as error:
            msg = (
                f"The spool in {self._directory} can't be read ({error.strerror}): check its disk."
            )
            raise LedgerUnavailableError(msg) from error

    async def _replay(self, settle: Callable[[Settlement], asyncio.Future[bool]]) -> int:
        if self._task is not None:
            return 0
        told = await self._settle_unkept(settle)
        if not self._spooled:
            return told
        loop = asyncio.get_running_loop()
        paths = await loop.run_in_executor(self._thread, self._turn_over)
        replayed = self._spooled
        for path in paths:
            settlements = await loop.run_in_executor(self._thread, list, read_file(path))
            await _settle_all(settlements, settle, path.name)
        await loop.run_in_executor(self._thread, self._remove, paths)
        self._spooled -= replayed
        return told + replayed

    async def _settle_unkept(self, settle: Callable[[Settlement], asyncio.Future[bool]]) -> int:
        """Bring what no disk took into the ledger."""
        unkept = dict(self._unkept)
        await _settle_all(list(unkept.values()), settle, "memory")
        for key in unkept:
            del self._unkept[key]
        return len(unkept)

    def _turn_over(self) -> list[Path]:
        """Close the current file; what comes now goes to a new one. Returns the closed ones."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        return list(self._files)

    def _remove(self, paths: list[Path]) -> None:
        remove(paths)
        self._files = [path for path in self._files if path not in paths]

    def close(self) -> None:
        """Let go of the file; what it holds is replayed by the next worker."""
        self._thread.shutdown()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
