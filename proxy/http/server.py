"""The listening side: accepts connections, bounds them, and ends in order."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from proxy.errors import RETRY_SOON, OverloadedError, ProxyError
from proxy.http.alarm import descriptor_of
from proxy.http.connection import ServerConnection
from proxy.http.deadlines import Deadlines
from proxy.http.exchange import ClientGoneError, Exchange
from proxy.http.held import HeldBytes
from proxy.http.limits import ConnectionLimits
from proxy.http.moderation import Moderation
from proxy.http.render import render_bytes, respond_error

Handler = Callable[[Exchange], Coroutine[Any, Any, None]]
BACKLOG = 2048
NO_LIMIT = 1 << 62
SETTLING_S = 5.0
"""What is left has so long once all that ran is settled, which has bounds of its own."""
ENDING_STEP_S = 0.01
log = logging.getLogger("weighbridge")


class Server:
    """Serves HTTP/1.1 with one handler for every request."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ConnectionLimits,
        max_connections: int,
        held: HeldBytes | None = None,
        moderation: Moderation | None = None,
    ) -> None:
        self._handler = handler
        self._max_connections = max_connections
        self._connections: set[ServerConnection] = set()
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}
        self._listener: asyncio.Server | None = None
        self._newcomers = 0
        self._deadlines = Deadlines()
        self.limits = limits
        self.moderation = moderation
        self.held = held or HeldBytes(NO_LIMIT)
        self.loop = asyncio.get_running_loop()
        self.closing = False
        self.full_answer = render_bytes(
            OverloadedError(
                f"The proxy has {max_connections:,} connections open, its limit. Try again "
                "soon, or have the operator raise PROXY_MAX_CONNECTIONS (and the limit of open "
                "files, if that is lower).",
                headers=RETRY_SOON,
            )
        )

    async def listen(
        self, host: str, port: int, *, reuse_port: bool = False
    ) -> list[socket.socket]:
        """Start accepting; returns the sockets (port 0 picks a free one)."""
        self._listener = await self.loop.create_server(
            self._accept,
            host,
            port,
            backlog=BACKLOG,
            reuse_port=reuse_port or None,
        )
        sockets = list(self._listener.sockets)
        if self.moderation is not None:
            for each in sockets:
                self.moderation.listen(each.fileno())
        return sockets

    def _accept(self) -> ServerConnection:
        self._newcomers += 1
        return ServerConnection(self)

    def newcomers(self) -> int:
        """Return how many clients have connected since this was last asked.

        They are not heard before the loop's next round, which should come without a rest.
        """
        came, self._newcomers = self._newcomers, 0
        return came

    def listen_to(self, transport: asyncio.BaseTransport) -> None:
        """Let what this client says end a rest of the loop: it may ask for something."""
        descriptor = descriptor_of(transport)
        if self.moderation is not None and descriptor is not None:
            self.moderation.listen(descriptor)

    def ignore(self, transport: asyncio.BaseTransport) -> None:
        """Let what comes from this client wait: it has a tunnel, and may say much."""
        descriptor = descriptor_of(transport)
        if self.moderation is not None and descriptor is not None:
            self.moderation.ignore(descriptor)

    def enter(self, connection: ServerConnection) -> bool:
        """Count a connection in; False where there is no room."""
        if len(self._connections) >= self._max_connections or self.closing:
            return False
        self._connections.add(connection)
        self._deadlines.watch(connection)
        return True

    def leave(self, connection: ServerConnection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)
        self._deadlines.forget(connection)

    def serve(self, exchange: Exchange) -> asyncio.Task[None]:
        """Run the handler; it outlives its client where it must."""
        task = self._tasks[exchange] = self.loop.create_task(self._run(exchange))
        return task

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._handler(exchange)
        except ClientGoneError:
            pass
        except ProxyError as error:
            if not exchange.started and not exchange.gone:
                respond_error(exchange, error)
        except Exception:
            log.exception("unexpected error while serving %s", exchange.head.path)
            if not exchange.started and not exchange.gone:
                respond_error(exchange, _unexpected())
        finally:
            if not exchange.answered:
                exchange.cut()
            exchange.let_go()
            self._tasks.pop(exchange, None)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def running(self) -> int:
        """How many requests are being served, those of clients that left included."""
        return len(self._tasks)

    async def close(self, grace_s: float, at_grace_end: Callable[[], Awaitable[None]]) -> None:
        """Stop accepting, let what runs finish for ``grace_s`` seconds, then end the rest.

        ``at_grace_end`` is awaited when the grace time is over and requests still run: it makes
        them end by themselves, settled.
        """
        self.closing = True
        if self._listener is not None:
            self._listener.close()
        for connection in [c for c in self._connections if c.idle]:
            connection.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace_s)
        if self._tasks:
            await at_grace_end()
        for connection in list(self._connections):
            connection.close()
        await self._end_rest(at_grace_end)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)
        self._deadlines.close()

    async def _end_rest(self, end: Callable[[], Awaitable[None]]) -> None:
        """See the rest to its end: what was still being opened or read, or is not yet all sent."""
        give_up_s = self.loop.time() + SETTLING_S
        while (self._tasks or self._connections) and self.loop.time() < give_up_s:
            if self._tasks:
                await end()
            await asyncio.sleep(ENDING_STEP_S)
        if self._tasks:
            log.warning("%d requests could not be ended in time", len(self._tasks))


def _unexpected() -> ProxyError:
    return ProxyError("The proxy failed on this request. It is logged; try again.")
