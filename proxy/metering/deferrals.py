"""Which calls make, or name, an object of the upstream's that outlives them, and whose it is."""

import asyncio
from typing import Final

from proxy.core.subscriptions import ApiKey
from proxy.errors import ConflictError, NotFoundError
from proxy.ledger.port import DeferredRequest, Ledger
from proxy.metering.deferral import Deferral, Naming
from proxy.metering.finishing import Finisher
from proxy.metering.making import Making
from proxy.metering.polling import Polls
from proxy.metering.showing import Showing
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.wire.endpoints import Endpoint, named_object
from proxy.wire.headers import RequestHead
from proxy.wire.request import RequestFacts

KEPT_WITHIN_S: Final = 0.1
"""A stream tells its object's id while that is being kept: who names it at once waits a moment."""


class Deferrals:
    """Tells what a call does to which object; in managed mode, guards whose that is."""

    def __init__(
        self,
        *,
        managed: bool,
        ledger: Ledger,
        finisher: Finisher,
        polls: Polls,
        upstreams: Upstreams,
    ) -> None:
        self._managed = managed
        self._ledger = ledger
        self._finisher = finisher
        self._polls = polls
        self._by_name = {upstream.name: upstream for upstream in upstreams}

    async def of(
        self,
        endpoint: Endpoint,
        head: RequestHead,
        key: ApiKey | None,
        upstream: Upstream,
        facts: RequestFacts,
    ) -> Deferral:
        """Return what a call of an endpoint with ``objects`` does.

        Errors: NotFoundError for an object that is not the caller's (managed mode),
        ConflictError for deleting one that still runs there.
        """
        made_by = endpoint.made_by
        if made_by is None:
            return Making(
                upstream,
                endpoint,
                head,
                self._finisher,
                self._polls,
                background=facts.background,
            )
        object_id = named_object(endpoint, head.path)
        request = await self._find(object_id, key, upstream)
        if request is None and self._managed:
            await asyncio.sleep(KEPT_WITHIN_S)
            request = await self._find(object_id, key, upstream)
        if request is None:
            if self._managed:
                raise _not_found(object_id)
            return Naming(upstream)
        upstream = self._by_name.get(request.upstream, upstream)
        if not request.waits:
            return Naming(upstream)
        if self._managed and endpoint.method == "DELETE":
            await self._end_first(request, key, upstream)
        if not endpoint.shows:
            return Naming(upstream)
        return Showing(
            upstream, made_by, request, head=head, finisher=self._finisher, polls=self._polls
        )

    async def _find(
        self, object_id: str, key: ApiKey | None, upstream: Upstream
    ) -> DeferredRequest | None:
        """Return who made an object: in managed mode only if that was the caller's subscription."""
        for request in await self._ledger.deferred(object_id):
            if self._managed:
                known = request.upstream in self._by_name
                if known and key is not None and request.subscription_id == key.subscription_id:
                    return request
            elif request.upstream == upstream.name:
                return request
        return None

    async def _end_first(
        self, request: DeferredRequest, key: ApiKey | None, upstream: Upstream
    ) -> None:
        """See to it that nothing is deleted before what it used is known."""
        await self._polls.ask(request)
        now = await self._find(request.object_id, key, upstream)
        if now is not None and now.waits:
            raise ConflictError(
                f"The response '{request.object_id}' still runs, so what it uses is not known "
                "yet. Cancel it, or wait for its end, then delete it."
            )


def _not_found(object_id: str) -> NotFoundError:
    """Answer as OpenAI does, for what is another's as for what is not there."""
    return NotFoundError(f"No response found with id '{object_id[:200]}'.")
