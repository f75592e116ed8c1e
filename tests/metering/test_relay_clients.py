"""The answer on its way to a client that leaves, or is slow."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.metering.outcome import Ended
from proxy.metering.relay import DisconnectPolicy
from tests.metering.crossing import (
    BODY,
    BROKEN,
    CANCEL,
    CHUNK,
    DONE,
    DRAIN,
    HEAD,
    USAGE,
    Crossing,
)


@pytest.fixture
async def _settled() -> AsyncIterator[None]:
    """Let what was called soon be called."""
    yield
    await asyncio.sleep(0)


pytestmark = pytest.mark.usefixtures("_settled")


def lose(crossing: Crossing) -> None:
    crossing.answered()
    crossing.exchange.lose_client()


async def test_a_client_that_left_is_drained_for() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK)
    lose(crossing)
    crossing.data(CHUNK + USAGE + DONE)
    assert crossing.measured()
    assert crossing.usage.usage() is not None
    crossing.relay.release()
    crossing.relay.answer_end()
    await crossing.relay.closed()
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.answered() == []
    assert crossing.upstream.events == ["resume"]


async def test_a_body_is_drained_for_a_client_that_left() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=len(BODY))
    lose(crossing)
    crossing.data(BODY[:20], BODY[20:])
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.usage.usage() is not None
    assert crossing.answered() == []


async def test_draining_has_its_limits() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK * 100)
    lose(crossing)
    crossing.data(b": " + b"x" * 150 + b"\n\n")
    assert not crossing.measured()
    crossing.data(b": " + b"x" * 150 + b"\n\n")
    assert crossing.relay.ended is Ended.DRAIN_LIMIT
    assert crossing.upstream.events == ["resume", "abort"]
    assert crossing.measured()

    late = Crossing(DisconnectPolicy(drain=True, drain_timeout_s=0.0, drain_bytes=1000))
    late.head()
    lose(late)
    await late.relay.measured
    assert late.relay.ended is Ended.DRAIN_LIMIT
    assert late.upstream.events == ["resume", "abort"]


async def test_the_drain_timer_ends_with_the_answer() -> None:
    crossing = Crossing(DisconnectPolicy(drain=True, drain_timeout_s=0.0, drain_bytes=1000))
    crossing.head()
    lose(crossing)
    crossing.relay.answer_end()
    await asyncio.sleep(0.01)
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.upstream.events == ["resume"]


@pytest.mark.parametrize("step", ["before the head", "after the head", "in the body"])
async def test_a_client_that_left_is_cancelled_for(step: str) -> None:
    crossing = Crossing(CANCEL)
    if step != "before the head":
        crossing.head()
        await asyncio.sleep(0)
    if step == "in the body":
        crossing.data(CHUNK)
    lose(crossing)
    assert crossing.relay.ended is Ended.CANCELLED
    assert crossing.measured()
    assert crossing.upstream.events == ["abort"]
    crossing.relay.release()
    await asyncio.sleep(0)
    assert crossing.answered() == []


@pytest.mark.parametrize("policy", [DRAIN, CANCEL])
async def test_a_client_that_leaves_before_the_head_is_sent_nothing(
    policy: DisconnectPolicy,
) -> None:
    crossing = Crossing(policy)
    lose(crossing)
    crossing.head()
    crossing.data(CHUNK + DONE)
    crossing.relay.answer_end()
    crossing.relay.release()
    await asyncio.sleep(0)
    assert crossing.answered() == []


@pytest.mark.parametrize("policy", [DRAIN, CANCEL])
async def test_a_client_that_leaves_while_it_settles(policy: DisconnectPolicy) -> None:
    crossing = Crossing(policy)
    crossing.head()
    crossing.data(CHUNK + DONE)
    assert crossing.measured()
    lose(crossing)
    crossing.relay.release()
    assert crossing.answered() == []
    crossing.relay.answer_end()
    await crossing.relay.closed()


async def test_a_client_that_leaves_after_it_had_all_changes_nothing() -> None:
    crossing = Crossing(CANCEL)
    crossing.head()
    crossing.data(CHUNK + DONE)
    crossing.relay.answer_end()
    lose(crossing)
    assert crossing.relay.ended is Ended.COMPLETE
    assert crossing.upstream.events == []


async def test_a_slow_client_slows_the_upstream_down() -> None:
    crossing = Crossing()
    crossing.head()
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    assert crossing.upstream.events == ["pause", "resume"]
    crossing.relay.client_paused()
    lose(crossing)
    assert crossing.upstream.events == ["pause", "resume", "pause", "resume"]


async def test_a_slow_upstream_slows_the_client_down() -> None:
    crossing = Crossing()
    crossing.exchange.body_complete = False
    crossing.relay.upstream_paused()
    crossing.relay.upstream_resumed()
    assert crossing.answered() == ["pause", "resume"]


@pytest.mark.parametrize("ending", ["whole", "broken", "stopped"])
async def test_a_connection_that_is_no_longer_ours_is_left_alone(ending: str) -> None:
    crossing = Crossing()
    crossing.head()
    crossing.data(CHUNK + DONE)
    if ending == "whole":
        crossing.relay.answer_end()
    elif ending == "broken":
        crossing.relay.answer_failed(BROKEN)
    else:
        crossing.relay.stop(Ended.SHUTDOWN)
    crossing.upstream.events.clear()
    crossing.relay.client_paused()
    crossing.relay.client_resumed()
    crossing.relay.stop(Ended.CANCELLED)
    crossing.exchange.lose_client()
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.upstream.events == []


async def test_an_error_of_the_upstream_passes() -> None:
    crossing = Crossing()
    crossing.head(b"application/json", length=2, status=429)
    crossing.data(b"{}")
    crossing.relay.answer_end()
    crossing.relay.release()
    assert crossing.answered() == [HEAD.replace(b"200", b"429") + b"\r\n{}", "finished"]


async def test_an_answer_that_ends_before_it_began_is_measured_all_the_same() -> None:
    crossing = Crossing()
    crossing.relay.answer_end()
    assert crossing.measured()
