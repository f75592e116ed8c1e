"""Where the parts meet: the only place that knows concrete classes."""

import asyncio
import hashlib
import logging
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from proxy.clock import now, now_us
from proxy.core.book import PriceBook
from proxy.core.ids import RequestIds
from proxy.errors import PricingError, SettingsError
from proxy.http.connection import ConnectionLimits
from proxy.http.server import Server
from proxy.http.upstream import Origin, UpstreamLimits, UpstreamPool
from proxy.ledger.port import Ledger
from proxy.ledger.sqlite import SqliteLedger
from proxy.metering.call import Caller
from proxy.metering.estimator import ThreadEstimator
from proxy.metering.relay import DisconnectPolicy
from proxy.pricing import parse
from proxy.settings import Settings
from proxy.web.access_log import AccessLog
from proxy.web.configuration import BookInForce, follow
from proxy.web.gateway import Gateway, GatewayOptions
from proxy.web.keys import KeyRing
from proxy.web.router import Router
from proxy.web.usage import UsageViews

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
    return parse(read_pricing_file(settings), str(settings.pricing_file))


def read_pricing_file(settings: Settings) -> str:
    """Return the pricing file's text."""
    try:
        return settings.pricing_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PricingError(
            f"{settings.pricing_file} can't be read: {error}. Set PROXY_PRICING_FILE to a "
            "pricing.toml, or start where one is."
        ) from None


def origin_of(base_url: str) -> Origin:
    """Split a base URL into where to connect and what to put before each path."""
    parts = urlsplit(base_url)
    default = 443 if parts.scheme == "https" else 80
    return Origin(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or default,
        base_path=parts.path.rstrip("/"),
    )


class Application:
    """A running worker: everything that serves, from the sockets to the ledger."""

    def __init__(self, settings: Settings, ledger: SqliteLedger, book: PriceBook) -> None:
        self.settings = settings
        self.ledger = ledger
        origin = origin_of(settings.upstream_base_url)
        self.books = BookInForce(ledger, book)
        self.keys = KeyRing(ledger)
        self.pool = UpstreamPool(
            origin,
            UpstreamLimits(
                connections=settings.upstream_connections,
                connect_timeout_s=settings.upstream_connect_timeout_s,
                silence_timeout_s=settings.upstream_timeout_s,
                idle_s=settings.upstream_idle_s,
            ),
            tls=ssl.create_default_context,
        )
        self.estimator = ThreadEstimator("azure" if "azure" in origin.host else "openai")
        self.caller = Caller(
            ledger=ledger,
            pool=self.pool,
            estimator=self.estimator,
            classifier=self.books,
            policy=DisconnectPolicy(
                drain=settings.on_disconnect == "drain",
                drain_timeout_s=settings.drain_timeout_s,
                drain_bytes=settings.drain_bytes,
            ),
            clock_us=now_us,
        )
        self.access_log = AccessLog(as_json=_logs_json(settings)) if settings.access_log else None
        self.router = self._router(origin)
        self.server = Server(
            self.router.handle,
            limits=ConnectionLimits(
                client_timeout_s=settings.client_timeout_s,
                keepalive_timeout_s=settings.keepalive_timeout_s,
            ),
            max_connections=settings.max_connections,
        )
        self._following: asyncio.Task[None] | None = None

    def _router(self, origin: Origin) -> Router:
        settings = self.settings
        key, token = settings.upstream_api_key, settings.admin_token
        gateway = Gateway(
            GatewayOptions(
                upstream_key=None if key is None else key.get_secret_value(),
                max_body_bytes=settings.max_body_bytes,
                max_upload_bytes=settings.max_upload_bytes,
                max_open_requests=settings.max_open_requests,
            ),
            origin=origin,
            keys=self.keys,
            caller=self.caller,
            ids=RequestIds(self.ledger.worker_id),
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
        return Router(gateway=gateway, usage=usage, ledger=self.ledger)

    async def start(self) -> int:
        """Start serving; returns the port."""
        await self._configuration_changed()
        self._following = asyncio.get_running_loop().create_task(
            follow(self.ledger, self._configuration_changed)
        )
        try:
            sockets = await self.server.listen(self.settings.host, self.settings.port)
        except OSError as error:
            raise SettingsError(
                f"{self.settings.host}:{self.settings.port} can't be listened on "
                f"({error.strerror}). Stop what does, or set PROXY_PORT."
            ) from None
        port: int = sockets[0].getsockname()[1]
        return port

    async def _configuration_changed(self) -> None:
        self.keys.forget()
        await self.books.refresh()

    async def stop(self) -> None:
        """Let streams finish within the grace time, settle everything, let go of everything."""
        self.router.draining = True
        await self.server.close(self.settings.shutdown_grace_s, self.caller.stop_all)
        if self._following is not None:
            self._following.cancel()
        self.pool.close()
        self.estimator.close()
        if self.access_log is not None:
            self.access_log.close()


async def run(settings: Settings, *, announce: bool = True) -> None:
    """Serve until SIGTERM or SIGINT."""
    text = read_pricing_file(settings)
    book = parse(text, str(settings.pricing_file))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ledger = await SqliteLedger.open_database(settings.database_path, now_us)
    try:
        await ledger.adopt_book(text, hashlib.sha256(text.encode()).hexdigest())
        application = Application(settings, ledger, book)
        port = await application.start()
        if announce:
            _announce(settings, port)
        await stopping.wait()
        log.info("stopping: running requests have %g s to finish", settings.shutdown_grace_s)
        await application.stop()
    finally:
        await ledger.close()


def serve(settings: Settings) -> int:
    """Serve until told to stop; the exit status."""
    import uvloop  # noqa: PLC0415 - commands other than this one need none

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    uvloop.run(run(settings))
    return 0


def _logs_json(settings: Settings) -> bool:
    if settings.log_format == "auto":
        return not os.isatty(sys.stderr.fileno())
    return settings.log_format == "json"


def _announce(settings: Settings, port: int) -> None:
    base_url = f"http://{settings.host}:{port}/v1"
    managed = settings.mode == "managed"
    mode = "managed (clients hold keys made here)" if managed else (
        "passthrough (clients keep their own upstream keys)"
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
