"""What polls keep, and how often they ask."""

import asyncio
from types import SimpleNamespace
from typing import cast

from proxy.http.pool import UpstreamPool
from proxy.ledger.port import DeferredRequest, Ledger
from proxy.metering import polling
from proxy.metering.finishing import Finisher
from proxy.metering.polling import PollPolicy, Polls
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.wire.endpoints import BATCHES, RESPONSES

HOUR_US = 3_600_000_000


class Origin:
    authority = b"api.example"
    base_path = "/v1"


class Pool:
    origin = Origin()


def upstream(credentials: list[tuple[bytes, bytes]] | None = None) -> Upstream:
    return Upstream(name="default", pool=cast("UpstreamPool", Pool()),
                    credentials=credentials)  # fmt: skip


def polls(policy: PollPolicy, to: Upstream) -> Polls:
    return Polls(
        policy,
        ledger=cast("Ledger", None),
        finisher=cast("Finisher", None),
        upstreams=Upstreams(to),
        clock_us=lambda: HOUR_US,
    )


def policy(*, managed: bool) -> PollPolicy:
    return PollPolicy(managed=managed, interval_s=2, lifetime_s=48 * 3600)


def deferred(name: str) -> DeferredRequest:
    return DeferredRequest(
        request_id=1,
        upstream="default",
        object_id=name,
        subscription_id=1,
        endpoint="responses",
        opened_at_us=HOUR_US,
        key_digest=b"",
        key_prefix="",
        model_requested="",
        body_bytes=1,
        waits=True,
    )


def test_batches_and_clients_own_keys_are_asked_with_more_rarely() -> None:
    asked = policy(managed=True).schedule(RESPONSES)
    assert (asked.first_s, asked.longest_s) == (2, 60)
    asked = policy(managed=True).schedule(BATCHES)
    assert (asked.first_s, asked.longest_s) == (30, 600)
    asked = policy(managed=False).schedule(RESPONSES)
    assert (asked.first_s, asked.longest_s) == (10, 60)


async def test_what_is_kept_of_clients_is_bounded_and_forgotten() -> None:
    to = upstream()
    kept = polls(policy(managed=False), to)
    for number in range(polling.REMEMBERED_MAX + 10):
        name = f"resp_{number}"
        kept.remember(to, RESPONSES, name, f"/v1/responses/{name}", [(b"Authorization", b"x")])
    assert len(kept._watched) == polling.REMEMBERED_MAX
    assert ("default", "resp_9") not in kept._watched
    watch = kept._watched["default", "resp_10"]
    head = polling._head(watch, watch.target)
    assert head.startswith(b"GET /v1/responses/resp_10 HTTP/1.1\r\nHost: api.example\r\n")
    assert head.endswith(b"Authorization: x\r\n\r\n")
    later_s = watch.due_s + 100
    kept._loop = cast("asyncio.AbstractEventLoop", SimpleNamespace(time=lambda: later_s))
    kept.postpone(deferred("resp_10"))
    assert watch.due_s > later_s
    kept.forget(deferred("resp_10"))
    kept.forget(deferred("resp_10"))
    kept.postpone(deferred("resp_10"))
    assert ("default", "resp_10") not in kept._watched


async def test_managed_mode_keeps_nothing_of_clients() -> None:
    to = upstream([(b"Authorization", b"Bearer ours")])
    kept = polls(policy(managed=True), to)
    kept.remember(to, RESPONSES, "resp_1", "/v1/responses/resp_1", [(b"Authorization", b"x")])
    assert not kept._watched
