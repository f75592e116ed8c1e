"""The end of what was deferred: settled for the request that made it, whoever saw the end.

Exactly once, whatever the order: the ledger takes the first settlement of a request, and no other.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from proxy.core.prices import DEFAULT_TIER
from proxy.core.usage import Measurement, RequestState, Usage
from proxy.ledger.port import DeferredObject, DeferredRequest, Settlement
from proxy.ledger.settlements import Opened, settlement_of
from proxy.metering.batch_outcome import common_class, measure_lines
from proxy.metering.classifying import Classifier
from proxy.metering.deferred_outcome import measure_lost, measure_seen, needs_count
from proxy.metering.estimator import Estimator
from proxy.metering.settling import Settler
from proxy.wire.batch_lines import BatchLines, OutputFile
from proxy.wire.deferred import Seen
from proxy.wire.endpoints import Endpoint, Metering

_OK = 200


class Requested(Protocol):
    """What must be known of a request to measure what it made."""

    @property
    def model_requested(self) -> str:
        """The model that it asked for."""

    @property
    def body_bytes(self) -> int:
        """How long its body was."""


class Finisher:
    """Settles requests whose usage came later."""

    def __init__(
        self,
        *,
        settler: Settler,
        estimator: Estimator,
        classifier: Classifier,
        clock_us: Callable[[], int],
    ) -> None:
        self._settler = settler
        self._estimator = estimator
        self.classifier = classifier
        self._clock_us = clock_us

    async def finish(
        self,
        request: DeferredRequest,
        endpoint: Endpoint,
        seen: Seen,
        provider: str,
        *,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Settle by what an answer showed of the object in its final state.

        ``endpoint`` is what made it, ``provider`` who answers, for the estimate; ``notes`` are
        kept with it. Errors: LedgerUnavailableError where neither ledger nor spool takes it.
        """
        measured = await self.measure(request, endpoint, seen, provider)
        usage = replace(measured.usage, notes=(*measured.usage.notes, *notes))
        # A batch's input is many prompts: that they are long together says nothing of each.
        context_class = "" if endpoint.metering is Metering.BATCH else None
        await self._settle(request, replace(measured, usage=usage), context_class)

    async def finish_batch(
        self, request: DeferredRequest, seen: Seen, file: OutputFile, lines: BatchLines
    ) -> None:
        """Settle a batch by the lines of its output file, each part at its own model and class.

        Errors: as of :meth:`finish`.
        """
        await self._settle(request, measure_lines(seen, file, lines), common_class(lines))

    async def measure(
        self, request: Requested, endpoint: Endpoint, seen: Seen, provider: str
    ) -> Measurement:
        """Say what is billed for an object in its final state, counting what nobody reports."""
        counted = None
        if needs_count(endpoint, seen):
            counted = await self._estimator.estimate(
                endpoint=endpoint.name,
                request=b"",
                answer=seen.text,
                model=seen.model or request.model_requested,
                provider=provider,
            )
        return measure_seen(seen, counted, request.body_bytes)

    async def give_up(self, request: DeferredRequest, why: str) -> None:
        """Settle what will not be learnt any more, so that its period can close."""
        await self._settle(request, measure_lost(request.model_requested, request.body_bytes, why))

    async def _settle(
        self, request: DeferredRequest, measurement: Measurement, context_class: str | None = None
    ) -> None:
        await self._settler.settle(self._settlement(request, measurement, context_class))

    def _settlement(
        self, request: DeferredRequest, measurement: Measurement, context_class: str | None
    ) -> Settlement:
        """Write a request's end; ``context_class`` None: its input is one prompt, and tells it."""
        usage = measurement.usage
        model = usage.model or request.model_requested
        if context_class is None:
            context_class = self.classifier.context_class(
                model, request.model_requested, usage.input_tokens
            )
        return Settlement(
            request_id=request.request_id,
            opened_at_us=request.opened_at_us,
            settled_at_us=self._clock_us(),
            key=None,
            key_digest=request.key_digest,
            key_prefix=request.key_prefix,
            model_requested=request.model_requested,
            model=model,
            service_tier=usage.service_tier or DEFAULT_TIER,
            context_class=context_class,
            upstream_status=_OK,
            measurement=measurement,
        )

    async def defer(self, call: Opened, made: DeferredObject, status: int) -> None:
        """Keep that a running call made an object, before its answer is at its end."""
        settlement = settlement_of(
            call,
            deferred(None, None),
            self._clock_us(),
            model=call.model,
            service_tier=DEFAULT_TIER,
            upstream_status=status,
        )
        settlement.object = made
        await self._settler.settle(settlement)


def deferred(model: str | None, service_tier: str | None) -> Measurement:
    """Return the measurement of a call whose usage comes later."""
    usage = Usage(quantities=(), model=model, service_tier=service_tier)
    return Measurement(state=RequestState.DEFERRED, usage=usage)
