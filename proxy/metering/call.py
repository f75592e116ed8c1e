"""One metered call, in order: open, send, relay, measure, settle, release."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from proxy.core.allowances import Allowance
from proxy.core.prices import DEFAULT_TIER
from proxy.core.reservations import FREE, Bounds
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement, RequestState, abandoned_usage
from proxy.errors import LedgerUnavailableError, ProxyError, UpstreamClosedError
from proxy.http.exchange import Exchange
from proxy.http.upstream import UpstreamConnection
from proxy.ledger.port import Ledger, OpenCall, Refusal, Settlement
from proxy.ledger.settlements import settlement_of
from proxy.metering.asking import FirstWord
from proxy.metering.classifying import Classifier
from proxy.metering.deferral import Deferral
from proxy.metering.estimator import Estimator
from proxy.metering.outcome import Ended, Outcome, measure, needs_estimate
from proxy.metering.reading import Reading
from proxy.metering.relay import DisconnectPolicy, Relay
from proxy.metering.settling import Settler
from proxy.metering.upload import Upload
from proxy.metering.upstreams import Upstream
from proxy.wire.bounds import read_bounds
from proxy.wire.endpoints import RESPONSES_SOCKET, Endpoint, Metering
from proxy.wire.limit_headers import refusal_headers
from proxy.wire.request import NO_FACTS, RequestFacts
from proxy.wire.request_shape import FormReader
from proxy.wire.usage import RequestShape, UsageReader

TOO_MANY = 429
UNMETERED = frozenset({Metering.NEVER, Metering.SESSION})
Request = tuple[bytes, bytes]
"""The head, with its blank line, and the body."""
Fault = Callable[[str], None]
"""Called at named points of a call, so that tests can end the process there."""


log = logging.getLogger("weighbridge")


def no_fault(_: str) -> None:
    """Let every named point pass."""


class Stoppable(Protocol):
    """What carries an answer, and can be told to end."""

    def stop(self, ended: Ended) -> None:
        """Take no more from the upstream."""


class Call(msgspec.Struct, kw_only=True):
    """A request that is authenticated and read, ready to be opened and sent.

    ``head`` is the upstream request's, with its blank line. ``body`` is None where it is
    streamed; ``form`` then taps it for what it is. ``asked`` says that usage was asked for on the
    client's behalf, and ``unasked`` writes the request without that. ``shape`` is None where the
    model's name is all of it. ``plain`` is what a compressed body says, otherwise None.
    """

    id: int
    request_id: str
    opened_at_us: int
    key: ApiKey | None
    key_digest: bytes | None
    key_prefix: str
    endpoint: Endpoint | None
    upstream: Upstream
    model: str = ""
    facts: RequestFacts = NO_FACTS
    shape: RequestShape | None = None
    form: FormReader | None = None
    head: bytes
    body: bytes | None
    plain: bytes | None = None
    body_bytes: int
    chunked_upward: bool = False
    asked: bool = False
    unasked: "Callable[[], Request] | None" = None
    managed: bool
    attempt: int = 0
    deferral: Deferral | None = None
    """What it does to an object of the upstream's that outlives it."""
    welcome: Callable[[], None] | None = None
    """Called when the upstream begins to answer well: its key works; None where that is known."""

    @property
    def endpoint_name(self) -> str:
        """What the ledger calls it."""
        return "other" if self.endpoint is None else self.endpoint.name

    @property
    def has_turns(self) -> bool:
        """Whether it is a socket whose answers are requests of their own."""
        return self.managed and self.endpoint is RESPONSES_SOCKET

    @property
    def metered(self) -> bool:
        """Whether its answer says what it used."""
        return self.endpoint is not None and self.endpoint.metering not in UNMETERED

    @property
    def estimable(self) -> bool:
        """Whether tokens can be counted by us where none are reported."""
        return self.endpoint is not None and self.endpoint.metering is Metering.TOKENS

    def bounds(self) -> Bounds:
        """Return what it can use at most; of a socket with turns each is bounded for itself."""
        if self.has_turns:
            return FREE
        # What could not be decompressed is as unknown as what is streamed.
        body = self.body if self.plain is None else self.plain or None
        return read_bounds(self.endpoint, self.model, self.facts, body, self.shape)

    def learn(self) -> None:
        """Take what a form said that was read while it was sent."""
        if self.form is not None:
            self.form.finish()
            self.facts = self.form.facts()
            self.model = self.facts.model or self.model
            self.shape = self.form.shape()


class Caller:
    """Carries calls: what they need beside themselves."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        settler: Settler,
        estimator: Estimator,
        classifier: Classifier,
        policy: DisconnectPolicy,
        clock_us: Callable[[], int],
        fault: Fault = no_fault,
    ) -> None:
        self._ledger = ledger
        self._settler = settler
        self._estimator = estimator
        self._policy = policy
        self._clock_us = clock_us
        self._fault = fault
        self.running: set[Stoppable] = set()
        self.classifier = classifier

    async def carry(self, exchange: Exchange, call: Call) -> Measurement | None:
        """Carry one call to its end; the measurement, or None where it was not admitted.

        Errors: what the client is to be told, if its answer has not begun.
        """
        self._fault("opening")
        allowance = await self.admit(call)
        self._fault("opened")
        shape = RequestShape(model=call.model)
        usage = UsageReader(call.endpoint, shape) if call.endpoint else None
        reading = Reading(call, usage, allowance)
        relay = Relay(exchange, self._policy, reading.begin)
        self.running.add(relay)
        try:
            return await self._carry(exchange, call, relay, reading)
        finally:
            relay.stop(Ended.SHUTDOWN)  # of one that has ended, nothing is stopped
            self.running.discard(relay)
            # Exchange and relay hold each other: parted, they go at once, without the collector.
            exchange.listener = None

    async def _carry(
        self, exchange: Exchange, call: Call, relay: Relay, reading: Reading
    ) -> Measurement | None:
        try:
            exchange.listener = relay
            connection = call.upstream.pool.take() or await self._connect(call, relay)
            refused = self._send(connection, exchange, call, relay)
            self._fault("sent")
            await relay.measured
            if relay.again:
                refused = await self._send_unasked(exchange, call, relay)
            call.learn()
            outcome = reading.outcome(relay)
            if call.deferral is None and not needs_estimate(outcome):
                measurement = measure(outcome, None)
            else:
                measurement = await self._measure(call, outcome, reading)
            self._fault("measured")
            await self._settle(call, relay, measurement)
            self._fault("settled")
        except LedgerUnavailableError as error:
            # Neither ledger nor spool: a whole answer would be an unmetered one. It stays open.
            log.error("%s is cut off unsettled: %s", call.request_id, error.message)  # noqa: TRY400
            exchange.cut()
            return None
        except Exception:
            await self._give_up(call, relay)
            raise
        if isinstance(exchange.broken, ProxyError) and not exchange.started:
            refused = refused or exchange.broken
        unanswered = refused is not None or (relay.error is not None and not exchange.started)
        if unanswered and not exchange.gone:
            raise refused or relay.error or UpstreamClosedError("The upstream gave no answer.")
        relay.release()
        self._fault("released")
        if relay.ended is None:
            await relay.closed()
        return measurement

    async def _give_up(self, call: Call, relay: Relay) -> None:
        """Settle a call that we fail on: what it used is as unknown as if this process had died."""
        relay.stop(Ended.SHUTDOWN)
        usage = abandoned_usage(call.model, call.body_bytes)
        await self._settle(call, relay, Measurement(state=RequestState.ABANDONED, usage=usage))

    async def stop_all(self) -> None:
        """Take no more from any upstream: what has come is settled as it is.

        What begins meanwhile (its body was still coming, or it was being admitted) ends, too.
        """
        told: set[Stoppable] = set()
        while self.running:  # at the end, once: not worth an event a call
            for relay in self.running - told:
                relay.stop(Ended.SHUTDOWN)
                told.add(relay)
            await asyncio.sleep(0.01)

    async def admit(self, call: Call) -> Allowance | None:
        """Have the request admitted; return what its client may be told of its limits."""
        key = call.key
        asked = OpenCall(
            id=call.id,
            opened_at_us=call.opened_at_us,
            key=key,
            key_digest=call.key_digest,
            key_prefix=call.key_prefix,
            endpoint=call.endpoint_name,
            model=call.model,
            stream=call.facts.stream,
            body_bytes=call.body_bytes,
            attempt=call.attempt,
            bounds=call.bounds() if key is not None and key.limited else None,
        )
        admission = await self._ledger.open(asked)
        if isinstance(admission, Refusal) and admission.limits_changed:
            asked.bounds = call.bounds()
            admission = await self._ledger.open(asked)
        if isinstance(admission, Refusal):
            raise RefusedError(admission)
        return admission.allowance

    async def _connect(self, call: Call, relay: Relay) -> UpstreamConnection | ProxyError:
        """Return a new connection, or what stands in the way: nothing will be sent."""
        try:
            return await call.upstream.pool.connect()
        except ProxyError as error:
            relay.stop(Ended.UPSTREAM_BROKE)
            return error

    def _send(
        self,
        connection: UpstreamConnection | ProxyError,
        exchange: Exchange,
        call: Call,
        relay: Relay,
    ) -> ProxyError | None:
        """Send the request; what is returned stands in the way, and nothing was sent."""
        if isinstance(connection, ProxyError):
            return connection
        left = exchange.gone or (exchange.ended and not relay.client_ended())
        if left or relay.ended is not None:
            call.upstream.pool.put(connection)
            relay.stop(Ended.CANCELLED)
            return None
        relay.connection = connection
        sink = FirstWord(connection, relay) if call.asked else relay
        connection.send(call.head, call.body, sink, bodiless=exchange.head.method == "HEAD")
        relay.sent = call.body is not None
        if call.body is None:
            length = exchange.head.content_length
            upload = Upload(connection, relay, call.form, length, chunked=call.chunked_upward)
            exchange.stream_body(upload)
        return None

    async def _send_unasked(
        self, exchange: Exchange, call: Call, relay: Relay
    ) -> ProxyError | None:
        """Send the client's own request, once its upstream has refused to be asked for usage."""
        assert call.unasked is not None  # noqa: S101 - what asks can unask
        call.asked = False
        call.head, call.body = call.unasked()
        relay.begin_again()
        connection = call.upstream.pool.take() or await self._connect(call, relay)
        error = self._send(connection, exchange, call, relay)
        await relay.measured
        if relay.status is not None and relay.status < 300:
            call.upstream.refused_asking(call.model)
        return error

    async def _measure(self, call: Call, outcome: Outcome, reading: Reading) -> Measurement:
        later = None if call.deferral is None else call.deferral.later(outcome)
        if later is not None:
            return later
        if not needs_estimate(outcome):
            return measure(outcome, None)
        estimated = await self._estimator.estimate(
            endpoint=call.endpoint_name,
            request=call.plain or call.body or b"",
            answer=reading.text(),
            model=outcome.model or call.model,
            provider=call.upstream.provider,
        )
        return measure(outcome, estimated)

    async def _settle(self, call: Call, relay: Relay, measurement: Measurement) -> None:
        made = None if call.deferral is None else await call.deferral.settle()
        settlement = self.settlement(call, relay.status, measurement)
        settlement.object = made
        await self._settler.settle(settlement)

    def settlement(self, call: Call, status: int | None, measurement: Measurement) -> Settlement:
        """Write what the ledger is to know of a call's end, or of a part of its usage."""
        usage = measurement.usage
        model = usage.model or call.model
        return settlement_of(
            call,
            measurement,
            self._clock_us(),
            model=model,
            service_tier=usage.service_tier or DEFAULT_TIER,
            context_class=self.classifier.context_class(model, call.model, usage.input_tokens),
            upstream_status=status,
        )


class RefusedError(ProxyError):
    """The ledger did not admit the request; nothing was sent."""

    def __init__(self, refusal: Refusal) -> None:
        headers = refusal_headers(
            refusal.retry_after_s, refusal.allowance, final=refusal.status == TOO_MANY
        )
        super().__init__(refusal.message, headers=tuple(headers))
        self.status = refusal.status
        self.code = refusal.code
        self.type = "invalid_request_error" if refusal.status < TOO_MANY else refusal.code
