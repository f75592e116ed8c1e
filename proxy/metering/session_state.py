"""What is known of one socket, and what it used so far."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.core.allowances import Allowance
from proxy.core.budgets import no_room
from proxy.core.usage import Measurement, Quantity, RequestState, Usage
from proxy.errors import LedgerUnavailableError, OverloadedError, ProxyError
from proxy.http.render import REQUEST_ID_HEADER
from proxy.ledger.port import APPENDED_FROM, Ledger, Settlement
from proxy.metering.call import Call, Caller, Fault, no_fault
from proxy.metering.session_events import error_event
from proxy.metering.session_relay import Guard, Meter, SessionRelay
from proxy.metering.settling import Settler
from proxy.wire.headers import AnswerHead, Headers, downward
from proxy.wire.limit_headers import with_limits
from proxy.wire.usage import SessionUsage
from proxy.wire.websocket_handshake import SWITCHED, handshake_downward

T = TypeVar("T")


class LimitReachedError(ProxyError):
    """A budget has no room for another answer."""

    status = 429
    type = code = "insufficient_quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMeans:
    """What sessions need beside themselves."""

    caller: Caller
    ledger: Ledger
    settler: Settler
    fault: Fault = no_fault


class Session(ABC, Generic[T]):
    """One socket: ``meter`` reads its way down, ``guard`` its way up."""

    meter: Meter[T]
    guard: Guard

    def __init__(self, means: SessionMeans, call: Call) -> None:
        self._means = means
        self._call = call
        self._used: Counter[Quantity] = Counter()
        self._next = APPENDED_FROM
        self._waits: set[int] = set()
        """The requests whose settlement no disk took: it is tried again, before any other."""
        self.last: SessionUsage | None = None
        self.allowance: Allowance | None = None

    @abstractmethod
    async def run(self, relay: SessionRelay[T]) -> None:
        """Relay until both sides have ended and all usage is durable."""

    @abstractmethod
    async def settle(self, relay: SessionRelay[T]) -> Measurement:
        """Settle what is left once it has ended; return all that was used, for the log."""

    async def give_up(self, relay: SessionRelay[T]) -> None:
        """Settle what we fail on: what was appended stays, the rest is as unknown as if we died."""
        usage = Usage(quantities=(), model=self._model, notes=("abandoned",))
        abandoned = Measurement(state=RequestState.ABANDONED, usage=usage)
        if self._call.id not in self._waits:
            await self._hand_in(self._means.caller.settlement(self._call, relay.status, abandoned))

    async def _hand_in(self, settlement: Settlement) -> None:
        """Settle; LedgerUnavailableError where neither the ledger nor the spool could take it."""
        try:
            await self._means.settler.settle(settlement)
        except LedgerUnavailableError:
            self._waits.add(settlement.request_id)
            raise

    async def _end(self, relay: SessionRelay[T], measurement: Measurement) -> None:
        """Say how it ended."""
        means = self._means
        means.fault("session_measured")
        await self._hand_in(means.caller.settlement(self._call, relay.status, measurement))
        means.fault("session_settled")

    @property
    def _model(self) -> str | None:
        """The model of the last answer."""
        return None if self.last is None else self.last.usage.model

    def event(self, error: ProxyError) -> bytes:
        """Write why it ends, for its client; before the close frame, which says it, too."""
        return error_event(error)

    def begin(self, head: AnswerHead) -> Headers:
        """Return the headers of the 101 for the client."""
        if self._call.welcome is not None:
            self._call.welcome()
        return self._ours(handshake_downward(head, managed=self._call.managed))

    def refused(self, head: AnswerHead) -> Headers:
        """Return the headers of another answer, whose body is at hand."""
        headers = downward(head, managed=self._call.managed, edited=False)
        return self._ours([pair for pair in headers if pair[0].lower() != b"content-length"])

    def _ours(self, headers: Headers) -> Headers:
        if self.allowance is not None:
            headers = with_limits(headers, self.allowance)
        return [*headers, (REQUEST_ID_HEADER, self._call.request_id.encode())]

    async def append(self, found: SessionUsage) -> ProxyError | None:
        """Make one answer's usage durable; return why there may be no other, if so."""
        if not found.usage.quantities:
            return None
        call, means = self._call, self._means
        measured = Measurement(state=RequestState.EXACT, usage=found.usage, raw=found.raw)
        part = means.caller.settlement(call, SWITCHED, measured)
        part.appended_from = self._next
        self._next += len(found.usage.quantities)
        self.last = found
        self.count(found.usage)
        means.fault("appending")
        booked = await means.settler.append(part)
        means.fault("appended")
        return None if call.key is None else await self._look_at_limits(booked=booked)

    async def _look_at_limits(self, *, booked: bool) -> ProxyError | None:
        key = self._call.key
        assert key is not None  # noqa: S101 - the caller has looked
        try:
            standings = await self._means.ledger.limits(key.subscription, key_id=key.id)
        except ProxyError as error:
            return error if key.limited else None
        if standings and not booked:
            return OverloadedError(
                "Usage can't be recorded in the ledger now, and this key has a limit: the session "
                "ends. Try again in a moment."
            )
        reason = no_room(standings)
        return None if reason is None else LimitReachedError(reason)

    def count(self, usage: Usage) -> None:
        """Count what an answer used in."""
        for q in usage.quantities:
            kind = Quantity(metric=q.metric, type=q.type, quantity=0, model=q.model)
            self._used[kind] += q.quantity

    def total(self, state: RequestState, model: str | None) -> Measurement:
        """Return the end with all that was used, for the log."""
        quantities = tuple(
            Quantity(metric=kind.metric, type=kind.type, quantity=count, model=kind.model)
            for kind, count in self._used.items()
        )
        return Measurement(state=state, usage=Usage(quantities=quantities, model=model))


def refused_by_upstream(relay: SessionRelay[T]) -> Measurement | None:
    """Return the end of a socket that never was one; None: there was a handshake."""
    if relay.status is not None and (relay.status == SWITCHED or relay.status // 100 == 2):
        return None
    nothing = Usage(quantities=(), notes=() if relay.ended is None else (relay.ended,))
    return Measurement(state=RequestState.FAILED, usage=nothing)
