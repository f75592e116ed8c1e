"""Calls that show an object whose usage is not known yet: a client's own reads.

The request that made the object is settled before this client has the whole answer.
"""

from proxy.ledger.port import DeferredObject, DeferredRequest
from proxy.ledger.settlements import Opened
from proxy.metering.deferral import Naming
from proxy.metering.finishing import Finisher
from proxy.metering.making import asking_headers
from proxy.metering.polling import Polls
from proxy.metering.upstreams import Upstream
from proxy.wire.answer import AnswerMeter, BodyMeter, StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.batch_lines import BatchReader
from proxy.wire.decoding import decoder_for, is_encoded
from proxy.wire.deferred import seen
from proxy.wire.endpoints import BATCHES, Endpoint
from proxy.wire.headers import AnswerHead, RequestHead
from proxy.wire.usage import RequestShape, UsageReader


class Showing(Naming):
    """A call that shows an object whose usage is not known yet."""

    def __init__(
        self,
        upstream: Upstream,
        endpoint: Endpoint,
        request: DeferredRequest,
        *,
        head: RequestHead,
        finisher: Finisher,
        polls: Polls,
    ) -> None:
        super().__init__(upstream)
        self._head = head
        self._endpoint = endpoint
        self._request = request
        self._finisher = finisher
        self._polls = polls
        self._usage = UsageReader(endpoint, RequestShape(model=request.model_requested))
        self._batch = BatchReader()
        self._answers = self._batch if endpoint is BATCHES else AnswerReader()

    def attend(
        self, call: Opened, head: AnswerHead, meter: AnswerMeter, usage: UsageReader | None
    ) -> AnswerMeter:
        """Read the answer as one of what made the object."""
        del call, usage
        encoding = head.fields.get(b"content-encoding", b"")
        decoder = decoder_for(encoding)
        if head.status != 200 or (decoder is None and is_encoded(encoding)):
            return meter
        if head.media_type == b"text/event-stream":
            return StreamMeter(
                self._endpoint, self._usage, self._answers, hide=False, decoder=decoder
            )
        return BodyMeter(self._usage, self._answers, decoder)

    async def settle(self) -> DeferredObject | None:
        """Settle the request that made the object, if this is its end."""
        shown = seen(self._usage, self._answers.answer())
        if shown.object_id != self._request.object_id:
            return None
        if not shown.final:
            self._polls.postpone(self._request)
            return None
        if shown.usage is None and self._batch.output is not None:
            await self._ask_for_lines()
            return None
        await self._finisher.finish(self._request, self._endpoint, shown, self.upstream.provider)
        self._polls.forget(self._request)
        return None

    async def _ask_for_lines(self) -> None:
        """Have the batch's output file read: only its lines tell what was used."""
        number = self._request.object_id
        before, _, _ = self._head.path.partition(f"/{number}")
        target = self.upstream.target(f"{before}/{number}", self._head.query, "")
        headers = asking_headers(self._head)
        await self._polls.ask_for(self._request, self.upstream, target, headers)
