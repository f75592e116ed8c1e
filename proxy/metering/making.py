"""Calls that may make an object, and leave their usage for later."""

import asyncio
from collections.abc import Callable

from proxy.core.usage import Measurement
from proxy.errors import LedgerUnavailableError
from proxy.ledger.port import DeferredObject
from proxy.ledger.settlements import Opened
from proxy.metering.finishing import Finisher, deferred
from proxy.metering.outcome import Outcome, succeeded
from proxy.metering.polling import Polls
from proxy.metering.upstreams import Upstream
from proxy.wire.answer import AnswerMeter
from proxy.wire.deferred import is_object_id, is_waiting
from proxy.wire.endpoints import CREATE_AND_RUN, Endpoint
from proxy.wire.headers import AnswerHead, Headers, RequestHead
from proxy.wire.usage import UsageReader

_ASKING_HEADERS = frozenset(
    {
        b"authorization",
        b"api-key",
        b"x-api-key",
        b"openai-organization",
        b"openai-project",
        b"openai-beta",
    }
)
"""The client's headers that a poll needs, too."""


class Making:
    """A call that may make an object; ``background``: it asks for one."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        head: RequestHead,
        finisher: Finisher,
        polls: Polls,
        *,
        background: bool,
    ) -> None:
        self.upstream = upstream
        self._endpoint = endpoint
        self._head = head
        self._finisher = finisher
        self._polls = polls
        self._background = background
        self._usage: UsageReader | None = None
        self._streamed = False
        self._waits = False
        self._ok = False
        self._announced: asyncio.Task[None] | None = None

    def attend(
        self, call: Opened, head: AnswerHead, meter: AnswerMeter, usage: UsageReader | None
    ) -> AnswerMeter:
        """Keep the object as soon as its id is known, where the answer is a stream."""
        self._usage = usage
        self._ok = 200 <= head.status < 300
        self._streamed = head.media_type == b"text/event-stream"
        if not (usage is not None and self._ok and self._streamed and self._background):
            return meter
        return _Noticing(meter, usage, lambda: self._announce(call, head.status))

    def later(self, outcome: Outcome) -> Measurement | None:
        """Defer what the upstream has accepted and not yet ended."""
        usage = self._usage
        if usage is None or not succeeded(outcome) or not self._ok:
            return None
        self._waits = is_waiting(
            self._endpoint,
            usage.status,
            usage.object_id,
            background=self._background,
            streamed=self._streamed,
        )
        if not self._waits:
            return None
        self._remember()
        return deferred(usage.model, usage.service_tier)

    async def settle(self) -> DeferredObject | None:
        """Return the object that was made; one that was announced is in the ledger first."""
        if self._announced is not None:
            await asyncio.wait([self._announced])
        return self._made() if self._waits or self._background else None

    def _made(self) -> DeferredObject | None:
        usage = self._usage
        if usage is None or not self._ok or not is_object_id(usage.object_id):
            return None
        return DeferredObject(upstream=self.upstream.name, id=usage.object_id or "")

    def _announce(self, call: Opened, status: int) -> None:
        made = self._made()
        if made is not None:
            loop = asyncio.get_running_loop()
            self._announced = loop.create_task(self._keep(call, made, status))

    async def _keep(self, call: Opened, made: DeferredObject, status: int) -> None:
        """Keep it early. Where that fails, its settlement at the answer's end keeps it."""
        try:
            await self._finisher.defer(call, made, status)
        except LedgerUnavailableError:
            return

    def _remember(self) -> None:
        """Keep in memory what it takes to ask for the end (passthrough)."""
        object_id = self._usage.object_id if self._usage is not None else None
        if object_id is None or self._endpoint is CREATE_AND_RUN:  # its path names the thread, too
            return
        head = self._head
        path = f"{head.path.removesuffix('/')}/{object_id}"
        target = self.upstream.target(path, head.query, "")
        self._polls.remember(self.upstream, self._endpoint, object_id, target, asking_headers(head))


def asking_headers(head: RequestHead) -> Headers:
    """Return the headers of a client's that a question of ours needs, too."""
    return [pair for pair in head.headers if pair[0].lower() in _ASKING_HEADERS]


class _Noticing:
    """A meter that tells, once, that the answer has named its object."""

    def __init__(self, meter: AnswerMeter, usage: UsageReader, notice: Callable[[], None]) -> None:
        self._meter = meter
        self._usage = usage
        self._notice: Callable[[], None] | None = notice
        self.completed = self.waits = False

    def feed(self, data: bytes) -> bytes:
        """Let the meter read a piece."""
        out = self._meter.feed(data)
        self.completed, self.waits = self._meter.completed, self._meter.waits
        if self._notice is not None and self._usage.object_id is not None:
            notice, self._notice = self._notice, None
            if not self.completed:
                notice()
        return out

    def finish(self) -> None:
        """Let it read what is left."""
        self._meter.finish()
        self.completed = self._meter.completed

    def take_waiting(self) -> bytes:
        """Return what it kept for the next frame."""
        self.waits = False
        return self._meter.take_waiting()

    def take_held(self) -> bytes:
        """Return what it held back."""
        return self._meter.take_held()
