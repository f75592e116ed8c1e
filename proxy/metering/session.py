"""One metered socket, in order: open, shake hands, relay and append, settle."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement, RequestState, Usage
from proxy.errors import (
    LedgerUnavailableError,
    ProxyError,
    UnauthorizedError,
    UpstreamClosedError,
)
from proxy.http.exchange import Exchange
from proxy.metering.call import Call
from proxy.metering.outcome import NOT_METERED, Ended
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.session_relay import Guard, SessionRelay
from proxy.metering.session_state import Session, SessionMeans, refused_by_upstream
from proxy.wire.session_guard import Unguarded
from proxy.wire.session_meter import SessionMeter, UnreadMeter
from proxy.wire.usage import RequestShape, SessionUsage

T = TypeVar("T")
log = logging.getLogger("weighbridge")


class SessionCaller:
    """Carries sockets: each answer's usage is in the ledger before its client has it whole."""

    def __init__(self, means: SessionMeans, policy: DisconnectPolicy) -> None:
        self.means = means
        self._policy = policy
        self._fault = means.fault

    async def carry(
        self, exchange: Exchange, call: Call, session: Session[T]
    ) -> Measurement | None:
        """Carry one socket to its end; all that it used, or None where it stays open.

        Errors: what the client is to be told, if there was no handshake.
        """
        session.allowance = await self.means.caller.admit(call)
        self._fault("session_opened")
        relay = SessionRelay(exchange, session.meter, session.guard, session.begin, self._policy)
        self.means.caller.running.add(relay)
        exchange.listener = relay
        try:
            return await self._carry(exchange, call, relay, session)
        finally:
            relay.stop(Ended.SHUTDOWN)  # of one that has ended, nothing is stopped
            self.means.caller.running.discard(relay)
            exchange.listener = None

    async def _carry(
        self, exchange: Exchange, call: Call, relay: SessionRelay[T], session: Session[T]
    ) -> Measurement | None:
        try:
            unreached = await self._shake_hands(call, relay)
            await session.run(relay)
            measurement = await session.settle(relay)
        except LedgerUnavailableError as error:
            # Neither ledger nor spool: what follows would be unmetered.
            log.error("%s is cut off unsettled: %s", call.request_id, error.message)  # noqa: TRY400
            exchange.cut()
            relay.stop(Ended.SHUTDOWN)
            with suppress(LedgerUnavailableError):  # it is tried again for as long as we live
                await session.give_up(relay)
            return None
        except Exception:
            relay.stop(Ended.SHUTDOWN)
            await session.give_up(relay)
            raise
        if relay.status is None and not exchange.gone:
            raise unreached or relay.error or UpstreamClosedError("The upstream gave no answer.")
        if relay.refusal is not None and not exchange.gone:
            exchange.respond(relay.status or 0, session.refused(relay.refusal), relay.body())
        relay.finish(session.event)
        return measurement

    async def _shake_hands(self, call: Call, relay: SessionRelay[T]) -> ProxyError | None:
        """Send the handshake, on a connection of its own; what is returned stands in the way."""
        try:
            connection = await call.upstream.pool.connect()
        except ProxyError as error:
            relay.stop(Ended.UPSTREAM_BROKE)
            return error
        if relay.ended is not None:
            connection.close()
            return None
        relay.connection = connection
        connection.send(call.head, b"", relay, bodiless=False)
        return None


class AppendingSession(Session[SessionUsage]):
    """A socket that is one request: what each of its answers used is appended to it.

    ``key`` returns the client's key as it is now, and raises ProxyError for one that was revoked.
    """

    meter: SessionMeter

    def __init__(
        self,
        means: SessionMeans,
        call: Call,
        guard: Guard,
        key: Callable[[], Awaitable[ApiKey | None]],
    ) -> None:
        super().__init__(means, call)
        self._key = key
        self.meter = SessionMeter(RequestShape(model=call.model))
        self.guard = guard

    async def run(self, relay: SessionRelay[SessionUsage]) -> None:
        """Relay, and append."""
        await relay.run(self._append)

    async def _append(self, found: SessionUsage) -> ProxyError | None:
        """Make one answer's usage durable; return why there may be no other, if so."""
        refused = await self.append(found)
        if refused is not None:
            return refused
        try:
            await self._key()
        except UnauthorizedError as error:
            return error
        except LedgerUnavailableError:
            log.info("%s: its key could not be looked up", self._call.request_id)
        return None

    async def settle(self, relay: SessionRelay[SessionUsage]) -> Measurement:
        """Say how it ended: its usage is in the ledger already."""
        measurement = refused_by_upstream(relay) or self._measure()
        await self._end(relay, measurement)
        return self.total(measurement.state, measurement.usage.model)

    def _measure(self) -> Measurement:
        last, unsure = self.last, self.meter.unsure()
        usage = Usage(
            quantities=(),
            model=self._model,
            service_tier=None if last is None else last.usage.service_tier,
            notes=unsure,
        )
        state = RequestState.PARTIAL if unsure else RequestState.EXACT
        return Measurement(state=state, usage=usage, raw=b"" if last is None else last.raw)


class UnmeteredSession(Session[None]):
    """A socket at a path that is not known: one request, without usage."""

    meter: UnreadMeter

    def __init__(self, means: SessionMeans, call: Call) -> None:
        super().__init__(means, call)
        self.meter = UnreadMeter()
        self.guard = Unguarded()

    async def run(self, relay: SessionRelay[None]) -> None:
        """Relay."""
        await relay.run(self._keep)

    async def _keep(self, _: None) -> None:
        """Nothing is told."""

    async def settle(self, relay: SessionRelay[None]) -> Measurement:
        """Say how it ended."""
        unmetered = Measurement(state=RequestState.EXACT, usage=NOT_METERED)
        measurement = refused_by_upstream(relay) or unmetered
        await self._end(relay, measurement)
        return measurement

    def event(self, error: ProxyError) -> bytes:  # noqa: ARG002 - others tell it
        """Write nothing: what is spoken there is not known, only how it is closed."""
        return b""
