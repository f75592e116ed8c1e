"""A whole proxy on the test's own event loop, and everything that it may leave behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.app import Application
from proxy.core.subscriptions import key_digest
from proxy.demo.scripted import Responder, ScriptedUpstream, steps, whole
from proxy.ledger.sqlite import SqliteLedger
from proxy.pricing import parse
from proxy.settings import Settings
from tests.http.conftest import Wire
from tests.ledger.calls import assert_sums_equal_events, states

PATIENCE_S = 20.0
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
        self._files = 0

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
        """Take what runs now for what runs at rest."""
        await asyncio.sleep(0)
        self._before = frozenset(asyncio.all_tasks())
        self._files = open_files()

    async def leftovers(self) -> dict[str, object]:
        """Wait until nothing is left of any request, and return what is after all."""
        for wire in self.wires:
            wire.writer.close()
        self.wires.clear()
        await asyncio.sleep(0)
        left = self._left()
        deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
        while left and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.01)
            left = self._left()
        return left

    def _left(self) -> dict[str, object]:
        application = self.application
        for upstream in application.upstreams:
            for connection in list(upstream.pool._idle):
                connection.close()
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
            "relays": len(application.caller._running),
            "drains": drains.running if drains is not None else 0,
            "files": max(0, open_files() - self._files),
            "rows": self.states().count("open"),
        }
        return {what: count for what, count in left.items() if count}


@asynccontextmanager
async def serving(
    folder: Path, *, managed: bool = True, pricing: str = "", **settings: Any
) -> AsyncIterator[Proxy]:
    """Serve from ``folder`` with these settings, and see that it ends with nothing left."""
    async with ScriptedUpstream(steps(OK), keep=False) as upstream:
        given = {
            "upstream_base_url": upstream.base_url,
            "upstream_api_key": UPSTREAM_KEY if managed else None,
            "database_url": f"sqlite:///{folder / 'weighbridge.db'}",
            "port": 0,
            "access_log": False,
            "shutdown_grace_s": 1,
        }
        loaded = Settings.load(**(given | settings))
        ledger = await SqliteLedger.open_database(loaded.database_path)
        application = Application(loaded, ledger, parse(pricing, "pricing"))
        try:
            port = await application.start()
            yield Proxy(application, upstream, port)
        finally:
            await application.stop()
            await ledger.close()
    assert_sums_equal_events(loaded.database_path)


def open_files() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def gathered(awaitables: Iterable[Any]) -> list[Any]:
    """Wait for all of them, but not for ever."""
    return await asyncio.wait_for(asyncio.gather(*awaitables), PATIENCE_S)
