"""A socket whose answers are requests of their own: the Responses API's in managed mode.

The handshake is a request that uses nothing, settled before the first turn. Each turn is then
admitted by the same limits as a ``POST /v1/responses``, holds its own reservation, and is settled
before the client has its last event.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from proxy.core.ids import RequestIds, to_text
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement, RequestState, Usage, abandoned_usage
from proxy.errors import LedgerUnavailableError, OverloadedError, ProxyError
from proxy.metering.call import Call
from proxy.metering.finishing import Finisher
from proxy.metering.outcome import Ended
from proxy.metering.session_relay import SessionRelay
from proxy.metering.session_state import Session, SessionMeans, refused_by_upstream
from proxy.metering.turn_gate import TurnGate, masked_frame
from proxy.metering.turn_outcome import measure_refused, measure_unfinished
from proxy.wire.deferred import Seen
from proxy.wire.endpoints import RESPONSES
from proxy.wire.request import RequestFacts
from proxy.wire.turn_meter import TurnEnd, TurnMeter
from proxy.wire.turns import Turn
from proxy.wire.usage import SessionUsage

TURNS_MAX: Final = 64
"""How many turns of a socket may run at a time."""
_OK: Final = 200
_NOTHING: Final = Usage(quantities=())


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRules:
    """What turns must know beside the ledger's limits.

    ``key`` returns the client's key as it is now, and raises ProxyError for one that was revoked.
    ``admit`` raises ProxyError for models that this key may not ask for here; ``note`` is told
    what was used of which.
    """

    key: Callable[[], Awaitable[ApiKey | None]]
    admit: Callable[[ApiKey | None, RequestFacts], None]
    note: Callable[[str, Measurement], None]
    finisher: Finisher
    ids: RequestIds
    clock_us: Callable[[], int]


class TurnSession(Session[TurnEnd]):
    """One socket with turns."""

    meter: TurnMeter

    def __init__(self, means: SessionMeans, call: Call, rules: TurnRules) -> None:
        super().__init__(means, call)
        self.meter = TurnMeter()
        self.guard = self._gate = TurnGate(self.meter.made, lambda: self.meter.closed)
        self._rules = rules
        self._calls: dict[Turn, Call] = {}
        self._begun = False

    async def run(self, relay: SessionRelay[TurnEnd]) -> None:
        """Relay, and let turns up."""
        loop = asyncio.get_running_loop()
        gate = loop.create_task(self._gate.run(relay, lambda turn: self._go_up(turn, relay)))
        # It ends by itself only where we fail on it.
        gate.add_done_callback(lambda _: relay.stop(Ended.SHUTDOWN))
        try:
            await relay.run(self._end_turn)
        finally:
            relay.stop(Ended.SHUTDOWN)
            self._gate.end()
            # What is being admitted is waited for: nobody else would settle it.
            await asyncio.wait([gate])
        gate.result()

    async def settle(self, relay: SessionRelay[TurnEnd]) -> Measurement:
        """Settle the turns that have no end, and the handshake if there was no turn."""
        why = self.meter.unsure()
        ended = relay.ended or Ended.COMPLETE
        if self._gate.left and ended is Ended.COMPLETE:
            ended = Ended.CANCELLED  # the upstream closed because its client did
        for unfinished in self.meter.unfinished():
            call = self._calls[unfinished.turn]
            measurement = measure_unfinished(
                ended, call.model, call.body_bytes, begun=unfinished.begun, why=why
            )
            await self._settle(call, measurement)
            del self._calls[unfinished.turn]
        refused = refused_by_upstream(relay)
        self._means.fault("session_measured")
        await self._settle_handshake(relay.status, refused)
        self._means.fault("session_settled")
        return self.total(RequestState.EXACT if refused is None else refused.state, None)

    async def give_up(self, relay: SessionRelay[TurnEnd]) -> None:
        """Settle all that is open as abandoned."""
        for call in list(self._calls.values()):
            if call.id not in self._waits:
                usage = abandoned_usage(call.model, call.body_bytes)
                with suppress(LedgerUnavailableError):  # the others are to be tried, too
                    await self._settle(call, Measurement(state=RequestState.ABANDONED, usage=usage))
        abandoned = Measurement(state=RequestState.ABANDONED, usage=_NOTHING)
        await self._settle_handshake(relay.status, abandoned)

    async def _go_up(self, turn: Turn, relay: SessionRelay[TurnEnd]) -> None:
        """Have a turn admitted, and send it.

        Errors: what the client is to be told.
        """
        key = await self._rules.key()
        self._rules.admit(key, turn.facts)
        if len(self._calls) >= TURNS_MAX:
            raise OverloadedError(
                f"{TURNS_MAX} responses run on this socket, and no more may. Wait for one to end."
            )
        await self._settle_handshake(relay.status, None)
        call = self._call_of(turn, key)
        await self._means.caller.admit(call)
        self._means.fault("turn_opened")
        if not relay.takes or self._gate.closing is not None:  # its client has left meanwhile
            await self._settle(call, measure_refused("not sent"), None)
            return
        self._calls[turn] = call
        self.meter.ask(turn)
        relay.send(masked_frame(turn.kind, turn.body))
        turn.body, call.body = b"", None
        self._means.fault("turn_sent")

    def _call_of(self, turn: Turn, key: ApiKey | None) -> Call:
        socket = self._call
        opened_at_us = self._rules.clock_us()
        number = self._rules.ids.make(opened_at_us // 1000)
        return Call(
            id=number,
            request_id=to_text(number),
            opened_at_us=opened_at_us,
            key=key,
            key_digest=socket.key_digest,
            key_prefix=socket.key_prefix,
            endpoint=RESPONSES,
            upstream=socket.upstream,
            model=turn.facts.model,
            facts=turn.facts,
            head=b"",
            body=turn.body,
            body_bytes=turn.body_bytes,
            managed=socket.managed,
        )

    async def _end_turn(self, end: TurnEnd) -> ProxyError | None:
        """Settle a turn before its client has the last of it."""
        turn, seen, status = end
        if turn is None:
            return None if seen is None else await self._append(seen)
        call = self._calls[turn]  # until it is settled: should that fail, it is given up
        if seen is None:
            await self._settle(call, measure_refused("refused by the upstream"), status)
        else:
            await self._settle_answer(call, seen)
        del self._calls[turn]
        return None

    async def _settle_answer(self, call: Call, seen: Seen) -> None:
        finisher = self._rules.finisher
        asked = _Asked(call.model, call.body_bytes)
        measurement = await finisher.measure(asked, RESPONSES, seen, call.upstream.provider)
        self._means.fault("turn_measured")
        await self._settle(call, measurement)
        self._means.fault("turn_settled")

    async def _append(self, seen: Seen) -> ProxyError | None:
        """Book an answer that no turn asked for to the socket."""
        if seen.usage is None:
            return None
        return await self.append(SessionUsage(id=seen.object_id, usage=seen.usage, raw=seen.raw))

    async def _settle(self, call: Call, measurement: Measurement, status: int | None = _OK) -> None:
        """Settle a turn; the record says on which socket it was."""
        means = self._means
        notes = (*measurement.usage.notes, f"on the socket {self._call.request_id}")
        noted = replace(measurement, usage=replace(measurement.usage, notes=notes))
        await self._hand_in(means.caller.settlement(call, status, noted))
        self.count(measurement.usage)
        self._rules.note(call.model, measurement)

    async def _settle_handshake(self, status: int | None, measurement: Measurement | None) -> None:
        if self._begun or self._call.id in self._waits:
            return
        exact = Measurement(state=RequestState.EXACT, usage=_NOTHING)
        means = self._means
        await self._hand_in(means.caller.settlement(self._call, status, measurement or exact))
        self._begun = True


@dataclass(frozen=True, slots=True)
class _Asked:
    """A turn as what measures it knows it."""

    model_requested: str
    body_bytes: int
