"""The connections to one origin, kept between requests."""

import asyncio
import ssl
from collections.abc import Callable

from proxy.errors import RETRY_SOON, OverloadedError, UpstreamTimedOutError
from proxy.http.connecting import Origin, UpstreamLimits, cannot_connect
from proxy.http.deadlines import Deadlines
from proxy.http.moderation import Moderation
from proxy.http.upstream import UpstreamConnection


class UpstreamPool:
    """All connections to one origin: the one used last is used first, idle ones are closed."""

    def __init__(
        self,
        origin: Origin,
        limits: UpstreamLimits,
        *,
        tls: Callable[[], ssl.SSLContext],
        moderation: Moderation,
    ) -> None:
        self.origin = origin
        self.limits = limits
        self.moderation = moderation
        self.loop = asyncio.get_running_loop()
        self._tls = tls if origin.scheme == "https" else None
        self._context: ssl.SSLContext | None = None
        self._idle: list[UpstreamConnection] = []
        self._open: set[UpstreamConnection] = set()
        self._connecting = 0
        self._deadlines = Deadlines()

    def take(self) -> UpstreamConnection | None:
        """Return a kept connection, if there is one that is still good."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """Open a connection.

        Errors: UpstreamUnreachableError, UpstreamTimedOutError, OverloadedError.
        """
        if len(self._open) + self._connecting >= self.limits.connections:
            raise OverloadedError(
                f"The proxy has {self.limits.connections:,} upstream connections open, its limit. "
                "Try again soon, or have the operator raise PROXY_UPSTREAM_CONNECTIONS.",
                headers=RETRY_SOON,
            )
        self._connecting += 1
        try:
            if self._tls is not None and self._context is None:
                self._context = self._tls()
            async with asyncio.timeout(self.limits.connect_timeout_s):
                _, connection = await self.loop.create_connection(
                    lambda: UpstreamConnection(self),
                    self.origin.host,
                    self.origin.port,
                    ssl=self._context,
                    server_hostname=self.origin.host if self._context else None,
                )
        except TimeoutError:
            raise UpstreamTimedOutError(
                f"The upstream did not accept a connection within "
                f"{self.limits.connect_timeout_s:g} seconds. Try again."
            ) from None
        except (OSError, UnicodeError) as error:
            raise cannot_connect(f"{self.origin.host}:{self.origin.port}", error) from None
        finally:
            self._connecting -= 1
        return connection

    def made(self, connection: UpstreamConnection) -> None:
        """A connection is open: from here on, :meth:`lost` will be told of its end."""
        self._open.add(connection)
        self._deadlines.watch(connection)

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        if connection.usable:
            connection.deadline = self.loop.time() + self.limits.idle_s
            self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is closed."""
        self._open.discard(connection)
        self._deadlines.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @property
    def busy(self) -> int:
        """How many carry a request."""
        return len(self._open) - len(self._idle)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.abort()
        self._deadlines.close()
