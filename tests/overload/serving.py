"""A whole proxy on the test's own event loop, and everything that it may leave behind."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy import app
from proxy.app import Application
from proxy.core.subscriptions import key_digest
from proxy.demo.scripted import Responder, ScriptedUpstream, steps, whole
from proxy.settings import Settings
from tests.http.conftest import Wire
from tests.ledger.calls import assert_sums_equal_events, states

PATIENCE_S = 20.0
PRICES = "[models.gpt-4o]\ninput = 2.5\noutput = 10.0\n"
UPSTREAM_KEY = "sk-upstream"
OK = whole(
    200,
    b'{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"message":{"content":"hi"}}],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13}}',
    (("Content-Type", "application/json"),),
)


class Proxy:
    """A proxy in this process, before an upstream that is scripted."""

    def __init__(self, application: Application, upstream: ScriptedUpstream, port: int) -> None:
        self.application = application
        self.upstream = upstream
        self.port = port
        self.wires: list[Wire] = []
        self._before = frozenset[asyncio.Task[Any]]()
        self._files = Counter[str]()

    def answers(self, responder: Responder) -> None:
        """From now on, have the upstream answer like this."""
        self.upstream.responder = responder

    async def key(self, customer: str = "acme") -> str:
        """Make a key, and what is missing for it."""
        ledger, secret = self.application.ledger, f"wb-{customer}-secret"
        await ledger.make_customer(customer)
        start = datetime(2020, 1, 1, tzinfo=UTC)
        await ledger.make_subscription(
            customer, customer=customer, plan="default", started_at=start
        )
        digest = key_digest(secret.encode())
        await ledger.make_key(digest=digest, prefix="wb-", name=None, subscription=customer)
        self.application.keys.forget()
        return secret

    async def connect(self, *, limit: int = 1 << 16) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, limit=limit))
        self.wires.append(wire)
        return wire

    async def ask(self, data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
        """Send a request on a connection of its own, and read its answer."""
        wire = await self.connect()
        await wire.send(data)
        try:
            return await asyncio.wait_for(wire.answer(), PATIENCE_S)
        finally:
            wire.writer.close()

    def states(self) -> list[str]:
        """Return the states of all requests, in their order."""
        return list(states(self.application.settings.database_path).values())

    async def at_rest(self) -> None:
        """Take what runs now, while nobody asks for anything, for what runs at rest."""
        self._close_idle()
        await asyncio.sleep(0.05)
        assert not self.application.server.running
        # SQLite keeps the descriptor of a closed connection while others of the process use it.
        self.states()
        self._before = frozenset(asyncio.all_tasks())
        self._files = open_files()

    async def hang_up(self) -> None:
        """Close every client's connection."""
        for wire in self.wires:
            wire.writer.transport.abort()
        self.wires.clear()
        await asyncio.sleep(0.01)

    async def leftovers(self) -> dict[str, object]:
        """Wait until nothing is left of any request, and return what is after all."""
        await self.hang_up()
        left = self._left()
        deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
        while left and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.01)
            left = self._left()
        return left

    def _close_idle(self) -> None:
        for upstream in self.application.upstreams:
            for connection in list(upstream.pool._idle):
                connection.close()

    def _left(self) -> dict[str, object]:
        application = self.application
        self._close_idle()
        drains = application.caller._policy.drains
        left = {
            "tasks": {task for task in asyncio.all_tasks() - self._before if not task.done()},
            "client connections": application.server.connections,
            "requests": application.server.running,
            "upstream connections": sum(u.pool.open for u in application.upstreams),
            "connecting": sum(u.pool._connecting for u in application.upstreams),
            "held bytes": application.server.held.total,
            "holders": len(application.server.held._by_holder),
            "open": application.router._gateway._open.total,
            "owners": len(application.router._gateway._open._by_owner),
            "relays": len(application.caller.running),
            "drains": drains.running if drains is not None else 0,
            "files": open_files() - self._files,
            "rows": self.states().count("open"),
        }
        return {what: count for what, count in left.items() if count}


@asynccontextmanager
async def serving(folder: Path, *, managed: bool = True, **settings: Any) -> AsyncIterator[Proxy]:
    """Serve from ``folder`` with these settings, and see that it ends with nothing left."""
    async with ScriptedUpstream(steps(OK), keep=False) as upstream:
        given: dict[str, Any] = {
            "upstream_base_url": upstream.base_url,
            "upstream_api_key": UPSTREAM_KEY if managed else None,
            "database_url": f"sqlite:///{folder / 'weighbridge.db'}",
            "pricing_file": folder / "prices.toml",
            "port": 0,
            "access_log": False,
            "shutdown_grace_s": 1,
            "drain_timeout_s": 0.3,
        }
        given["pricing_file"].write_text(PRICES)
        loaded = Settings.load(**(given | settings))
        async with app.serving(loaded) as (application, port):
            proxy = Proxy(application, upstream, port)
            try:
                yield proxy
            finally:
                await proxy.hang_up()
    assert_sums_equal_events(loaded.database_path)


def open_files() -> Counter[str]:
    """Return which files this process has open; sockets only count."""
    names: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            names.append("socket" if name.startswith("socket:") else name)
    return Counter(names)


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def gathered(awaitables: Iterable[Any]) -> list[Any]:
    """Wait for all of them, but not for ever."""
    return await asyncio.wait_for(asyncio.gather(*awaitables), PATIENCE_S)
