"""Where the parts meet: the only place that knows concrete classes."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from proxy.billing.books import BookShelf
from proxy.billing.upkeep import BillingUpkeep
from proxy.chores import Chores
from proxy.clock import now, now_us
from proxy.core.book import PriceBook
from proxy.core.ids import RequestIds
from proxy.errors import LedgerUnavailableError, SettingsError
from proxy.http.descriptors import raise_limit, share_out
from proxy.http.held import HeldBytes
from proxy.http.limits import ConnectionLimits
from proxy.http.moderation import Moderation
from proxy.http.server import Server
from proxy.ledger.port import Ledger
from proxy.ledger.spool import Spool
from proxy.ledger.sqlite import SqliteLedger
from proxy.logs import configure_logging, logs_json
from proxy.metering.call import Caller, Fault, no_fault
from proxy.metering.deferrals import Deferrals
from proxy.metering.drains import Drains
from proxy.metering.estimator import ThreadEstimator
from proxy.metering.finishing import Finisher
from proxy.metering.polling import PollPolicy, Polls
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.session import SessionCaller
from proxy.metering.session_state import SessionMeans
from proxy.metering.settling import Settler
from proxy.metering.upkeep import empty_spool, keep_up
from proxy.pricing import parse
from proxy.pricing.watch import read_text
from proxy.settings import Settings
from proxy.upstream_table import upstreams_of
from proxy.web.access_log import AccessLog
from proxy.web.configuration import BookInForce, follow
from proxy.web.gateway import Gateway, GatewayOptions
from proxy.web.invoice import InvoiceViews
from proxy.web.keys import KeyRing
from proxy.web.model_gate import ModelGate
from proxy.web.router import Router
from proxy.web.shares import OpenShares
from proxy.web.sockets import Sockets
from proxy.web.usage import UsageViews

GC_THRESHOLDS = (20_000, 20, 20)
ORPHAN_MARGIN_S = 10.0
"""What a worker whose supervisor died has after the grace time, before it ends itself."""
log = logging.getLogger("weighbridge")


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """Open the ledger that the settings name."""
    ledger = await SqliteLedger.open_database(settings.database_path, now_us, worker=False)
    try:
        yield ledger
    finally:
        await ledger.close()


def load_book(settings: Settings) -> PriceBook:
    """Read the pricing file; PricingError says what is wrong in it and where."""
    return parse(read_text(settings.pricing_file), str(settings.pricing_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A worker's place beside its siblings: the port they share, and its ties to who keeps them.

    ``serving`` is called once it serves. ``lifeline`` is the reading end of a pipe: that it ends
    means that there is no supervisor any more.
    """

    port: int
    lifeline: int
    serving: Callable[[], None]


class Application:
    """A running worker: everything that serves, from the sockets to the ledger."""

    def __init__(
        self,
        settings: Settings,
        ledger: SqliteLedger,
        book: PriceBook,
        *,
        prices: BillingUpkeep,
        fault: Fault = no_fault,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        descriptors = raise_limit()
        connections, upstreams = share_out(
            descriptors, settings.max_connections, settings.upstream_connections
        )
        if (connections, upstreams) != (settings.max_connections, settings.upstream_connections):
            log.info(
                "%d open files are allowed: room for %d connections of clients and %d upstream",
                descriptors,
                connections,
                upstreams,
            )
        self.books = BookInForce(prices.shelf, book)
        self.prices = prices
        self.keys = KeyRing(ledger)
        self.moderation = Moderation(asyncio.get_running_loop(), self._in_hand)
        ledger.tell_written(self.moderation.wake)
        self.upstreams = upstreams_of(settings, connections=upstreams, moderation=self.moderation)
        self.estimator = ThreadEstimator()
        self.spool = Spool(settings.spool_path, ledger.worker_id, ledger.ledger_id)
        ledger.spooled = lambda: self.spool.pending > 0
        settler = Settler(ledger, self.spool, timeout_s=settings.settle_timeout_s)
        policy = DisconnectPolicy(
            drain=settings.on_disconnect == "drain",
            drain_timeout_s=settings.drain_timeout_s,
            drain_bytes=settings.drain_bytes,
            drains=Drains(settings.drains_per_subscription),
        )
        self.finisher = Finisher(
            settler=settler, estimator=self.estimator, classifier=self.books, clock_us=now_us
        )
        self.polls = self._polls()
        self.caller = Caller(
            ledger=ledger,
            settler=settler,
            estimator=self.estimator,
            classifier=self.books,
            policy=policy,
            clock_us=now_us,
            fault=fault,
        )
        means = SessionMeans(caller=self.caller, ledger=ledger, settler=settler, fault=fault)
        self.sessions = SessionCaller(means, policy)
        self.access_log = AccessLog(as_json=logs_json(settings)) if settings.access_log else None
        self._chores = Chores()
        self.router = self._router()
        self.server = Server(
            self.router.handle,
            limits=ConnectionLimits(
                client_timeout_s=settings.client_timeout_s,
                stalled_reader_s=settings.client_timeout_s,
                keepalive_timeout_s=settings.keepalive_timeout_s,
            ),
            max_connections=connections,
            held=HeldBytes(settings.max_held_bytes),
            moderation=self.moderation,
        )

    def _in_hand(self) -> int:
        """Return how many requests wait for this loop, not for an upstream or the ledger's disk.

        Who has just connected has one on the way, or here already.
        """
        running = self.server.running + self.server.newcomers()
        return running - self.upstreams.busy - self.ledger.unwritten

    def _polls(self) -> Polls:
        settings = self.settings
        policy = PollPolicy(
            managed=settings.mode == "managed",
            interval_s=settings.poll_interval_s,
            lifetime_s=settings.deferred_lifetime_s,
        )
        return Polls(
            policy,
            ledger=self.ledger,
            finisher=self.finisher,
            upstreams=self.upstreams,
            clock_us=now_us,
        )

    def _router(self) -> Router:
        settings = self.settings
        token = settings.admin_token
        managed = settings.mode == "managed"
        gate = ModelGate(self.books, now)
        ids = RequestIds(self.ledger.worker_id)
        shares = OpenShares(settings.max_open_requests, settings.open_share)
        gateway = Gateway(
            GatewayOptions(
                managed=managed,
                max_body_bytes=settings.max_body_bytes,
                max_upload_bytes=settings.max_upload_bytes,
            ),
            upstreams=self.upstreams,
            keys=self.keys,
            caller=self.caller,
            sockets=Sockets(
                self.sessions,
                managed=managed,
                upstreams=self.upstreams,
                gate=gate,
                finisher=self.finisher,
                ids=ids,
                clock_us=now_us,
            ),
            ids=ids,
            models=gate,
            deferrals=Deferrals(
                managed=managed,
                ledger=self.ledger,
                finisher=self.finisher,
                polls=self.polls,
                upstreams=self.upstreams,
            ),
            shares=shares,
            clock_us=now_us,
            access_log=self.access_log,
        )
        usage = UsageViews(
            ledger=self.ledger,
            keys=self.keys,
            books=self.books,
            admin_token=None if token is None else token.get_secret_value(),
            now=now,
        )
        return Router(
            gateway=gateway,
            usage=usage,
            invoices=InvoiceViews(usage, self.books, now),
            shares=shares,
            ledger=self.ledger,
            prices=lambda: {"sequence": self.books.sequence, **self.prices.status()},
            background=self._chores.status,
        )

    async def start(self, shared_port: int | None = None) -> int:
        """Start serving, on a port that is shared with siblings if it is given; return the port."""
        await self._configuration_changed()
        start = self._chores.start
        start("configuration", lambda: follow(self.ledger, self._configuration_changed))
        start("ledger upkeep", lambda: keep_up(self.ledger, now_us))
        start("prices", self.prices.follow)
        start("closing of periods", self.prices.close)
        start("polling", self.polls.run)
        start("spool", lambda: empty_spool(self.spool, self.ledger))
        try:
            sockets = await self.server.listen(
                self.settings.host,
                self.settings.port if shared_port is None else shared_port,
                reuse_port=shared_port is not None,
            )
        except OSError as error:
            raise cannot_listen(self.settings, error) from None
        port: int = sockets[0].getsockname()[1]
        return port

    async def _configuration_changed(self) -> None:
        self.keys.forget()
        await self.books.refresh()

    async def stop(self) -> None:
        """Let streams finish within the grace time, settle everything, let go of everything."""
        self.router.draining = True
        await self.server.close(self.settings.shutdown_grace_s, self.caller.stop_all)
        self._chores.stop()
        with suppress(LedgerUnavailableError):
            await self.spool.replay(self.ledger.settle)
        self.spool.close()
        self.upstreams.close()
        self.ledger.tell_written(_nobody)
        self.moderation.close()
        self.estimator.close()
        if self.access_log is not None:
            self.access_log.close()


def _nobody() -> None:
    """Nothing rests any more that could be woken."""


async def run(settings: Settings, *, seat: Seat | None = None, fault: Fault = no_fault) -> None:
    """Serve until SIGTERM or SIGINT; ``fault`` is called at named points."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if seat is not None:
        loop.add_reader(seat.lifeline, _orphaned, seat, settings, stopping)
    async with serving(settings, None if seat is None else seat.port, fault=fault) as (
        application,
        port,
    ):
        loop.add_signal_handler(signal.SIGHUP, application.prices.read_again)
        if seat is None:
            announce(settings, port)
        else:
            seat.serving()
        await stopping.wait()
        log.info("stopping: running requests have %g s to finish", settings.shutdown_grace_s)


@asynccontextmanager
async def serving(
    settings: Settings, shared_port: int | None = None, *, fault: Fault = no_fault
) -> AsyncIterator[tuple[Application, int]]:
    """Serve within: the worker, and its port."""
    ledger = await SqliteLedger.open_database(
        settings.database_path, now_us, fault=fault, spool_directory=settings.spool_path
    )
    try:
        prices = BillingUpkeep(
            BookShelf(ledger), settings.pricing_file, grace_s=settings.close_grace_s, now=now
        )
        book = await prices.begin()
        application = Application(settings, ledger, book, prices=prices, fault=fault)
        try:
            yield application, await application.start(shared_port)
        finally:
            await application.stop()
    finally:
        await ledger.close()


def _orphaned(seat: Seat, settings: Settings, stopping: asyncio.Event) -> None:
    """Stop as if told to; nobody is there any more to end a worker that can't."""
    loop = asyncio.get_running_loop()
    loop.remove_reader(seat.lifeline)
    loop.call_later(settings.shutdown_grace_s + ORPHAN_MARGIN_S, os._exit, 1)
    stopping.set()


def serve(settings: Settings, seat: Seat | None = None) -> int:
    """Serve until told to stop; the exit status."""
    import uvloop  # noqa: PLC0415 - commands other than this one need none

    configure_logging(settings)
    # What was made by now stays: the collector need not look at it again, nor at every burst.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(run(settings, seat=seat))
    return 0


def cannot_listen(settings: Settings, error: OSError) -> SettingsError:
    """Say in one sentence why the address can't be had."""
    return SettingsError(
        f"{settings.host}:{settings.port} can't be listened on ({error.strerror or error}). "
        "Stop what does, or set PROXY_PORT."
    )


def announce(settings: Settings, port: int) -> None:
    """Say where it serves, and what to do next."""
    base_url = f"http://{settings.host}:{port}/v1"
    managed = settings.mode == "managed"
    mode = (
        "managed (clients hold keys made here)"
        if managed
        else ("passthrough (clients keep their own upstream keys)")
    )
    lines = [
        f"Weighbridge serves {base_url}",
        f"  mode      {mode}",
        f"  upstream  {settings.upstream_base_url}",
        f"  base_url  {base_url}",
    ]
    if managed:
        lines.append("Next: weighbridge keys create --customer acme")
    else:
        lines.append(f"Next: export OPENAI_BASE_URL={base_url}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
