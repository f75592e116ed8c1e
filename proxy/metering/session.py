"""One metered socket, in order: open, shake hands, relay and append, settle."""

import logging
from collections import Counter

from proxy.core.allowances import Allowance
from proxy.core.budgets import no_room
from proxy.core.usage import Measurement, Quantity, RequestState, Usage
from proxy.errors import LedgerUnavailableError, OverloadedError, ProxyError, UpstreamClosedError
from proxy.http.exchange import Exchange
from proxy.ledger.port import APPENDED_FROM, Ledger
from proxy.metering.call import Call, Caller, Fault, no_fault
from proxy.metering.outcome import Ended
from proxy.metering.relay import DisconnectPolicy
from proxy.metering.session_relay import SessionRelay
from proxy.metering.settling import Settler
from proxy.wire.headers import AnswerHead, Headers, downward
from proxy.wire.limit_headers import with_limits
from proxy.wire.session_guard import SessionGuard
from proxy.wire.session_meter import SessionMeter
from proxy.wire.usage import RequestShape, SessionUsage
from proxy.wire.websocket_handshake import SWITCHED, handshake_downward

log = logging.getLogger("weighbridge")


class LimitReachedError(ProxyError):
    """A budget has no room for another answer."""

    status = 429
    type = code = "insufficient_quota"


class SessionCaller:
    """Carries sockets: each answer's usage is in the ledger before its client has it whole."""

    def __init__(
        self,
        caller: Caller,
        *,
        ledger: Ledger,
        settler: Settler,
        policy: DisconnectPolicy,
        fault: Fault = no_fault,
    ) -> None:
        self._caller = caller
        self._policy = policy
        self._ledger = ledger
        self._settler = settler
        self._fault = fault

    async def carry(
        self, exchange: Exchange, call: Call, guard: SessionGuard | None
    ) -> Measurement | None:
        """Carry one socket to its end; all that it used, or None where it stays open.

        Errors: what the client is to be told, if there was no handshake.
        """
        allowance = await self._caller.admit(call)
        self._fault("session_opened")
        session = _Session(call, allowance)
        relay = SessionRelay(exchange, session.meter, guard, session.begin, self._policy)
        self._caller.running.add(relay)
        exchange.listener = relay
        try:
            return await self._carry(exchange, call, relay, session)
        finally:
            relay.stop(Ended.SHUTDOWN)  # of one that has ended, nothing is stopped
            self._caller.running.discard(relay)
            exchange.listener = None

    async def _carry(
        self, exchange: Exchange, call: Call, relay: SessionRelay, session: "_Session"
    ) -> Measurement | None:
        try:
            unreached = await self._shake_hands(call, relay)
            await relay.run(lambda found: self._append(call, session, found))
            measurement = session.measure(relay)
            self._fault("session_measured")
            await self._settler.settle(self._caller.settlement(call, relay.status, measurement))
            self._fault("session_settled")
        except LedgerUnavailableError as error:
            # Neither ledger nor spool: what follows would be unmetered. It stays open.
            log.error("%s is cut off unsettled: %s", call.request_id, error.message)  # noqa: TRY400
            exchange.cut()
            return None
        except Exception:
            await self._give_up(call, relay, session)
            raise
        if relay.status is None and not exchange.gone:
            raise unreached or relay.error or UpstreamClosedError("The upstream gave no answer.")
        if relay.refusal is not None and not exchange.gone:
            exchange.respond(relay.status or 0, session.refused(relay.refusal), relay.body())
        relay.finish()
        return session.total(measurement)

    async def _shake_hands(self, call: Call, relay: SessionRelay) -> ProxyError | None:
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

    async def _append(
        self, call: Call, session: "_Session", found: SessionUsage
    ) -> ProxyError | None:
        """Make one answer's usage durable; return why there may be no other, if so."""
        if not found.usage.quantities:
            return None
        measured = Measurement(state=RequestState.EXACT, usage=found.usage, raw=found.raw)
        part = self._caller.settlement(call, SWITCHED, measured)
        part.appended_from = session.take(found)
        self._fault("appending")
        booked = await self._settler.append(part)
        self._fault("appended")
        return None if call.key is None else await self._look_at_limits(call, booked=booked)

    async def _look_at_limits(self, call: Call, *, booked: bool) -> ProxyError | None:
        key = call.key
        assert key is not None  # noqa: S101 - the caller has looked
        try:
            standings = await self._ledger.limits(key.subscription, key_id=key.id)
        except ProxyError as error:
            return error if key.limited else None
        if standings and not booked:
            return OverloadedError(
                "Usage can't be recorded in the ledger now, and this key has a limit: the session "
                "ends. Try again in a moment."
            )
        reason = no_room(standings)
        return None if reason is None else LimitReachedError(reason)

    async def _give_up(self, call: Call, relay: SessionRelay, session: "_Session") -> None:
        """Settle a socket that we fail on: what was appended stays, the rest is unknown."""
        relay.stop(Ended.SHUTDOWN)
        usage = Usage(quantities=(), model=session.model, notes=("abandoned",))
        abandoned = Measurement(state=RequestState.ABANDONED, usage=usage)
        await self._settler.settle(self._caller.settlement(call, relay.status, abandoned))


class _Session:
    """What is known of one socket, and what it used so far."""

    def __init__(self, call: Call, allowance: Allowance | None) -> None:
        self._call = call
        self._allowance = allowance
        self._used: Counter[Quantity] = Counter()
        self._next = APPENDED_FROM
        self._last: SessionUsage | None = None
        self.meter = SessionMeter(RequestShape(model=call.model))

    @property
    def model(self) -> str | None:
        """The model of the last answer."""
        return None if self._last is None else self._last.usage.model

    def begin(self, head: AnswerHead) -> Headers:
        """Return the headers of the 101 for the client."""
        return self._ours(handshake_downward(head, managed=self._call.managed))

    def refused(self, head: AnswerHead) -> Headers:
        """Return the headers of another answer, whose body is at hand."""
        headers = downward(head, managed=self._call.managed, edited=False)
        return self._ours([pair for pair in headers if pair[0].lower() != b"content-length"])

    def _ours(self, headers: Headers) -> Headers:
        if self._allowance is not None:
            headers = with_limits(headers, self._allowance)
        return [*headers, (b"x-weighbridge-request-id", self._call.request_id.encode())]

    def take(self, found: SessionUsage) -> int:
        """Count an answer's usage in; return the number of its first event."""
        self._last = found
        first, quantities = self._next, found.usage.quantities
        self._next += len(quantities)
        for q in quantities:
            kind = Quantity(metric=q.metric, type=q.type, quantity=0, model=q.model)
            self._used[kind] += q.quantity
        return first

    def measure(self, relay: SessionRelay) -> Measurement:
        """Say how the session ended: its usage is in the ledger already."""
        last = self._last
        if relay.status is None or not (relay.status == SWITCHED or relay.status // 100 == 2):
            nothing = Usage(quantities=(), notes=() if relay.ended is None else (relay.ended,))
            return Measurement(state=RequestState.FAILED, usage=nothing)
        unsure = self.meter.unsure()
        usage = Usage(
            quantities=(),
            model=self.model,
            service_tier=None if last is None else last.usage.service_tier,
            notes=unsure,
        )
        state = RequestState.PARTIAL if unsure else RequestState.EXACT
        return Measurement(state=state, usage=usage, raw=b"" if last is None else last.raw)

    def total(self, measurement: Measurement) -> Measurement:
        """Return the end with all that was used, for the log."""
        quantities = tuple(
            Quantity(metric=kind.metric, type=kind.type, quantity=count, model=kind.model)
            for kind, count in self._used.items()
        )
        usage = Usage(quantities=quantities, model=measurement.usage.model)
        return Measurement(state=measurement.state, usage=usage)
