"""Which path is whose."""

from collections.abc import Awaitable, Callable, Coroutine, Hashable

from proxy.errors import MethodNotAllowedError, NotFoundError
from proxy.http.exchange import Exchange
from proxy.http.render import respond_json
from proxy.ledger.port import Ledger
from proxy.web.gateway import Gateway
from proxy.web.invoice import InvoiceViews
from proxy.web.shares import OpenShares
from proxy.web.usage import UsageViews
from proxy.wire.upstream_paths import AZURE_PREFIX

_OF_THE_API = ("/v1/", AZURE_PREFIX)
View = Callable[[Exchange], Awaitable[None]]


class Router:
    """Hands each request to who serves it: ``/v1`` to the gateway, the rest to views."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        usage: UsageViews,
        invoices: InvoiceViews,
        shares: OpenShares,
        ledger: Ledger,
        prices: Callable[[], object],
        background: Callable[[], object],
    ) -> None:
        self._gateway = gateway
        self._usage = usage
        self._open = shares
        self._ledger = ledger
        self._prices = prices
        self._background = background
        self.draining = False
        self._views: dict[str, View] = {
            "/usage/current": self._shared(usage.current),
            "/usage/invoice": self._shared(invoices.invoice),
            "/healthz": self._alive,
            "/readyz": self._ready,
        }

    def handle(self, exchange: Exchange) -> Coroutine[None, None, None]:
        """Return what serves one request."""
        if exchange.head.path.startswith(_OF_THE_API):
            return self._gateway.handle(exchange)
        return self._view(exchange)

    async def _view(self, exchange: Exchange) -> None:
        head = exchange.head
        view = self._views.get(head.path)
        if view is None:
            raise NotFoundError(
                f"There is nothing at {head.path}. The API is under /v1, usage at /usage/current."
            )
        if head.method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError(f"{head.path} is read with GET, not {head.method}.")
        await view(exchange)

    def _shared(self, view: View) -> View:
        """Count a view among its client's running requests: one thread reads for all of them."""

        async def counted(exchange: Exchange) -> None:
            owner: Hashable | None = None
            try:
                self._open.enter()
                whose = self._usage.owner(exchange.head)
                self._open.claim(whose)
                owner = whose
                await view(exchange)
            finally:
                self._open.leave(owner)

        return counted

    async def _alive(self, exchange: Exchange) -> None:
        respond_json(exchange, {"status": "ok"})

    async def _ready(self, exchange: Exchange) -> None:
        """Whether requests can be metered now: the ledger answers, and we are not stopping.

        A pricing file that is refused, or a chore that fails, does not make us less able to meter;
        it is told all the same.
        """
        if self.draining:
            respond_json(exchange, {"status": "stopping"}, status=503)
            return
        await self._ledger.check_writable()
        respond_json(
            exchange,
            {"status": "ok", "pricing": self._prices(), "background": self._background()},
        )
