"""``--workers N``: starts worker processes that share the port and the ledger, and keeps them.

The supervisor binds the port and never listens: that settles which port it is, and that it is
free. It serves nothing and has neither threads nor an event loop, so it may fork; what it knows,
secrets too, comes to its workers without a command line or a file.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
import time

from proxy.app import Seat, announce, cannot_listen, load_book, serve
from proxy.errors import PricingError, ProxyError, SettingsError
from proxy.logs import configure_logging
from proxy.settings import Settings

START_LIMIT_S = 120.0
"""A worker that does not serve by then is ended, and started anew."""
KILL_MARGIN_S = 10.0
"""What workers have after the grace time to settle what they cut off."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
QUIET_S = 60.0
FAILED = 1
MISUSED = 2
_READY = b"ready"
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_HEARD = (*_STOP, signal.SIGHUP, signal.SIGCHLD)
log = logging.getLogger("weighbridge")


def supervise(settings: Settings) -> int:
    """Run ``settings.workers`` workers until told to stop; the exit status.

    Errors: SettingsError and others that keep every worker from starting.
    """
    configure_logging(settings)
    _check_prices(settings)
    return Supervisor(settings).run()


def _check_prices(settings: Settings) -> None:
    """Stop a start that can't succeed; with a ledger, there may be prices in force already."""
    try:
        load_book(settings)
    except PricingError:
        if not settings.database_path.exists():
            raise


class Backoff:
    """How long to wait before a restart: longer each time, until there was a quiet minute."""

    def __init__(self) -> None:
        self._delay_s = 0.0
        self._last_s = float("-inf")

    def delay_s(self, now_s: float) -> float:
        """Return the delay of a restart after an end at ``now_s`` (monotonic seconds)."""
        quiet = now_s - self._last_s >= QUIET_S + self._delay_s
        self._delay_s = FIRST_DELAY_S if quiet else min(self._delay_s * 2, LONGEST_DELAY_S)
        self._last_s = now_s
        return self._delay_s


class Worker:
    """A process of ours; ``report`` is where it says how its start went, -1 once it has."""

    def __init__(self, pid: int, report: int, start_by_s: float) -> None:
        self.pid = pid
        self.report = report
        self.start_by_s = start_by_s
        self.said = b""
        self.ready = False


class Supervisor:
    """Keeps workers running until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets = bind(settings)
        self._port: int = self._sockets[0].getsockname()[1]
        self._workers: dict[int, Worker] = {}
        self._starts_s = [time.monotonic()] * settings.workers
        self._backoff = Backoff()
        self._lifeline, self._alive = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._announced = False
        self._failed_starts = 0
        self._error: ProxyError | None = None
        self._kill_at_s: float | None = None
        self._status = 0

    def run(self) -> int:
        """Supervise until every worker has ended; the exit status."""
        self._hear()
        try:
            while self._workers or (self._starts_s and not self._stopping):
                self._start_due()
                for key, _ in self._selector.select(self._wait_s()):
                    key.data()
                self._reap()
                self._settle_start()
                self._kill_late()
        finally:
            self._let_go()
        if self._error is not None and not self._announced and not self._stopping:
            raise self._error
        return self._status

    @property
    def _stopping(self) -> bool:
        return self._kill_at_s is not None

    # Signals.

    def _hear(self) -> None:
        """Turn signals into events: their numbers come out of a socket."""
        self._woken.setblocking(False)  # noqa: FBT003 - its name says it
        self._waker.setblocking(False)  # noqa: FBT003
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in _HEARD:
            signal.signal(number, _noted)
        self._selector.register(self._woken, selectors.EVENT_READ, self._signalled)

    def _signalled(self) -> None:
        for number in dict.fromkeys(self._woken.recv(4096)):
            if number in _STOP:
                self._stop(signal.Signals(number))
            elif number == signal.SIGHUP:
                self._tell(signal.SIGHUP)

    def _stop(self, number: signal.Signals) -> None:
        if self._kill_at_s is None:
            grace_s = self._settings.shutdown_grace_s
            self._kill_at_s = time.monotonic() + grace_s + KILL_MARGIN_S
        self._tell(number)

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            # A worker without handlers yet would be ended by a hang-up, and has nothing to reload.
            if worker.ready or number in _STOP:
                os.kill(worker.pid, number)

    # Starting.

    def _start_due(self) -> None:
        if self._stopping:
            return
        now_s = time.monotonic()
        due = [at_s for at_s in self._starts_s if at_s <= now_s]
        self._starts_s = [at_s for at_s in self._starts_s if at_s > now_s]
        for _ in due:
            self._fork()

    def _fork(self) -> None:
        reading, writing = os.pipe()
        # What is signalled between the fork and the worker's own handlers must not get lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._become_worker(writing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        os.close(writing)
        os.set_blocking(reading, False)
        worker = self._workers[pid] = Worker(pid, reading, time.monotonic() + START_LIMIT_S)
        self._selector.register(reading, selectors.EVENT_READ, lambda: self._listen_to(worker))

    def _become_worker(self, report: int) -> None:
        """Be a worker until this process ends; nothing of the supervisor's may stay open."""
        status = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in _HEARD:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            self._selector.close()
            for other in self._workers.values():
                if other.report >= 0:
                    os.close(other.report)
            for mine in (*self._sockets, self._woken, self._waker):
                mine.close()
            # Only the supervisor may have this end: that it closes is how its death is told.
            os.close(self._alive)
            status = work(self._settings, self._port, self._lifeline, report)
        finally:
            logging.shutdown()
            os._exit(status)

    def _listen_to(self, worker: Worker) -> None:
        """Take what a worker says of its start: that it serves, or why it can't."""
        said = os.read(worker.report, 65_536)
        worker.said += said
        worker.ready = worker.said == _READY
        if not said or worker.ready:
            self._hang_up(worker)

    def _hang_up(self, worker: Worker) -> None:
        if worker.report >= 0:
            self._selector.unregister(worker.report)
            os.close(worker.report)
            worker.report = -1

    def _settle_start(self) -> None:
        """Once every first worker serves or has failed: announce, or give up."""
        workers = self._workers.values()
        if self._announced or self._stopping or self._starts_s:
            return
        if all(worker.ready for worker in workers) and workers:
            self._announced = True
            announce(self._settings, self._port)
            if self._failed_starts:
                log.warning(
                    "only %d of %d workers serve; the others are started again",
                    len(workers),
                    self._settings.workers,
                )
            for _ in range(self._failed_starts):
                self._start_later()

    def _start_later(self) -> None:
        now_s = time.monotonic()
        self._starts_s.append(now_s + self._backoff.delay_s(now_s))

    # Ending.

    def _reap(self) -> None:
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                while worker.report >= 0:
                    self._listen_to(worker)
                del self._workers[pid]
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, status: int) -> None:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        if self._stopping:
            # One that did not serve yet had no handler for the signal, and nothing to lose.
            if status and (worker.ready or -status not in _STOP):
                log.error("worker %d ended with %s while stopping", worker.pid, how)
                self._status = FAILED
            return
        if worker.ready:
            log.error("worker %d ended with %s: another one is started", worker.pid, how)
        else:
            reason = worker.said.decode("utf-8", "replace") or f"it ended with {how}"
            log.error("worker %d did not start: %s", worker.pid, reason)
            kind = SettingsError if status == MISUSED else ProxyError
            self._error = kind(f"no worker could start: {reason}")
        if self._announced:
            self._start_later()
        else:
            self._failed_starts += 1

    def _kill_late(self) -> None:
        """End those that take too long to start or to stop."""
        now_s = time.monotonic()
        late = self._kill_at_s is not None and now_s >= self._kill_at_s
        for worker in self._workers.values():
            if late or (not worker.ready and now_s >= worker.start_by_s):
                log.error("worker %d takes too long: killed", worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
                worker.start_by_s = now_s + KILL_MARGIN_S
        if late:
            self._kill_at_s = now_s + KILL_MARGIN_S

    def _wait_s(self) -> float | None:
        """Return for how long nothing is to be done, unless something happens."""
        times = [worker.start_by_s for worker in self._workers.values() if not worker.ready]
        times += self._starts_s if self._kill_at_s is None else [self._kill_at_s]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _let_go(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in _HEARD:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        for mine in (*self._sockets, self._woken, self._waker):
            mine.close()
        for end in (self._lifeline, self._alive):
            os.close(end)


def work(settings: Settings, port: int, lifeline: int, report: int) -> int:
    """Be a worker; say by ``report`` that it serves, or why it can't; the exit status."""
    seat = Seat(port=port, lifeline=lifeline, serving=lambda: _say(report, _READY))
    try:
        return serve(settings, seat)
    except ProxyError as error:
        _say(report, error.message.encode())
        return MISUSED if isinstance(error, SettingsError) else FAILED
    except Exception as error:
        log.exception("a worker failed")
        _say(report, f"{type(error).__name__}: {error}".encode())
        return FAILED


def _say(report: int, what: bytes) -> None:
    # Whoever has said that it serves has nothing more to say, and no way to.
    with contextlib.suppress(OSError):
        os.write(report, what)
        os.close(report)


def bind(settings: Settings) -> list[socket.socket]:
    """Bind every address of the host without listening, all on one port.

    Errors: SettingsError where one can't be had.
    """
    port = settings.port
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            place = (address[0], port, *address[2:])
            if port:
                _bound(family, place, shared=False).close()
            sockets.append(_bound(family, place, shared=True))
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise cannot_listen(settings, error) from None
    return sockets


def _bound(family: int, address: tuple[str | int, ...], *, shared: bool) -> socket.socket:
    """Bind one address. Not ``shared``: it fails where another listens, even a sharing one."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the signal's number has been written to where it is waited for."""
