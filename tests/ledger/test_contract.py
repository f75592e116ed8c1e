"""What any ledger does, said through the port alone."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from proxy.core.book import READING
from proxy.core.subscriptions import key_digest
from proxy.core.usage import Metric, RequestState, Usage
from proxy.errors import BadRequestError, ConflictError, NotFoundError
from proxy.ledger.port import ADMITTED, Admission, Ledger, Refusal
from tests.ledger.calls import START, START_US, Caller, Clock, make_key, settlement, usage

MONTH = [START, START + timedelta(days=31)]


async def totals(ledger: Ledger, subscription: str = "acme") -> dict[tuple[str, str, str], int]:
    standing = await ledger.standing(subscription, MONTH)
    assert standing is not None
    return {(s.metric, s.type, s.source): s.quantity for s in standing.sums}


async def test_a_request_is_admitted_and_settled(ledger: Ledger, caller: Caller) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    assert await ledger.open(call) == ADMITTED
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    assert (standing.open, standing.deferred, list(standing.sums)) == (1, 0, [])
    assert await ledger.settle(settlement(call, usage(input=7, cached_input=3, output=5)))
    assert await totals(ledger) == {
        ("requests", "exact", "exact"): 1,
        ("tokens", "input", "exact"): 7,
        ("tokens", "cached_input", "exact"): 3,
        ("tokens", "output", "exact"): 5,
    }
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    assert standing.open == 0
    line = next(s for s in standing.sums if s.type == "input")
    assert (line.metric, line.model, line.model_requested) == (
        Metric.TOKENS,
        "gpt-4o-2024-08-06",
        "gpt-4o",
    )
    assert (line.plan, line.service_tier, line.context_class) == ("default", "default", "")


async def test_another_model_s_usage_is_never_that_of_the_one_asked_for(
    ledger: Ledger, caller: Caller
) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    (own,) = usage(output=5).quantities
    used = Usage(
        quantities=(
            replace(own, model="image_generation"),
            replace(own, model="gpt-4o-2024-08-06"),
            replace(own, model="gpt-4o-mini", context_class="above_9"),
        )
    )
    end = settlement(call, used)
    end.context_class = "above_272000"
    await ledger.settle(end)
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    assert {
        (s.model, s.model_requested, s.context_class)
        for s in standing.sums
        if s.metric == Metric.TOKENS
    } == {
        ("image_generation", "", ""),
        ("gpt-4o-2024-08-06", "gpt-4o", "above_272000"),
        ("gpt-4o-mini", "", "above_9"),
    }


async def test_a_second_settlement_changes_nothing(ledger: Ledger, caller: Caller) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    first, second = await asyncio.gather(
        ledger.settle(settlement(call, usage(input=1))),
        ledger.settle(settlement(call, usage(input=100, output=100))),
    )
    assert (first, second) == (True, False)
    assert not await ledger.settle(settlement(call, state=RequestState.PARTIAL))
    assert await totals(ledger) == {
        ("requests", "exact", "exact"): 1,
        ("tokens", "input", "exact"): 1,
    }


async def test_what_was_never_opened_is_not_settled(ledger: Ledger, caller: Caller) -> None:
    key = await make_key(ledger)
    assert not await ledger.settle(settlement(caller.call(key)))
    assert await totals(ledger) == {}


async def test_an_id_is_used_once(ledger: Ledger, caller: Caller) -> None:
    call = caller.call(await make_key(ledger))
    other = caller.call(call.key)
    await ledger.open(call)
    again, neighbour = await asyncio.gather(
        ledger.open(call), ledger.open(other), return_exceptions=True
    )
    assert isinstance(again, ConflictError)
    assert neighbour == ADMITTED


async def test_a_value_that_cannot_be_kept_harms_no_neighbour(
    ledger: Ledger, caller: Caller
) -> None:
    key = await make_key(ledger)
    bad, good = caller.call(key), caller.call(key)
    await asyncio.gather(ledger.open(bad), ledger.open(good))
    refused, applied = await asyncio.gather(
        ledger.settle(settlement(bad, usage(input=1 << 70))),
        ledger.settle(settlement(good, usage(input=2))),
        return_exceptions=True,
    )
    assert isinstance(refused, BadRequestError)
    assert applied is True
    assert await totals(ledger) == {
        ("requests", "exact", "exact"): 1,
        ("tokens", "input", "exact"): 2,
    }
    odd = caller.call(key, model="\ud800")
    fine = caller.call(key)
    refused_call, admitted = await asyncio.gather(
        ledger.open(odd), ledger.open(fine), return_exceptions=True
    )
    assert isinstance(refused_call, BadRequestError)
    assert isinstance(admitted, Admission)


async def test_a_deferred_request_is_settled_later(ledger: Ledger, caller: Caller) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    assert await ledger.settle(settlement(call, usage(), state=RequestState.DEFERRED))
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    assert (standing.open, standing.deferred, list(standing.sums)) == (0, 1, [])
    assert await ledger.settle(settlement(call, usage(input=4)))
    assert (await totals(ledger))["tokens", "input", "exact"] == 4


async def test_failed_requests_are_counted(ledger: Ledger, caller: Caller) -> None:
    call = caller.call(await make_key(ledger))
    await ledger.open(call)
    await ledger.settle(settlement(call, usage(), state=RequestState.FAILED, status=500))
    assert await totals(ledger) == {("requests", "failed", "failed"): 1}


async def test_making_twice_returns_what_is_there(ledger: Ledger) -> None:
    first = await ledger.make_customer("acme", name="Acme", timezone="Europe/Paris")
    assert await ledger.make_customer("acme") == first
    assert await ledger.make_customer("acme", name="Acme", timezone="Europe/Paris") == first
    assert (first.currency, first.timezone) == ("USD", "Europe/Paris")
    made = await ledger.make_subscription("sub", customer="acme", plan="pro", started_at=START)
    again = await ledger.make_subscription("sub", customer="acme", plan="x", started_at=START)
    assert again == made
    assert made.plan == "pro"
    assert [s.plan for s in await ledger.segments(made.id)] == ["pro"]
    record = await ledger.make_key(
        digest=key_digest(b"1"), prefix="wb-1", name="a", subscription="sub"
    )
    assert (
        await ledger.make_key(digest=key_digest(b"1"), prefix="x", name="b", subscription="sub")
        == record
    )
    assert [c.external_id for c in await ledger.customers()] == ["acme"]
    assert await ledger.subscriptions() == [made]
    assert await ledger.subscription("sub") == made
    assert await ledger.subscription("none") is None
    assert await ledger.keys() == [record]


async def test_what_a_customer_is_changes_only_when_it_is_to(ledger: Ledger) -> None:
    first = await ledger.make_customer("acme", email="a@acme.example")
    with pytest.raises(ConflictError, match="with no name and timezone 'UTC', and stays"):
        await ledger.make_customer("acme", name="Acme", timezone="Europe/Paris")
    assert await ledger.customers() == [first]
    before = await ledger.configuration_sequence()
    changed = await ledger.change_customer("acme", name="Acme", email="", timezone="Europe/Paris")
    assert (changed.name, changed.email, changed.timezone) == ("Acme", None, "Europe/Paris")
    assert await ledger.configuration_sequence() > before
    before = await ledger.configuration_sequence()
    assert await ledger.change_customer("acme", name="Acme", timezone=None) == changed
    assert await ledger.configuration_sequence() == before
    assert await ledger.customers() == [changed]


async def test_operators_are_told_what_is_wrong(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="customer 'acme'"):
        await ledger.make_subscription("s", customer="acme", plan="default", started_at=START)
    with pytest.raises(NotFoundError, match="subscription 's'"):
        await ledger.make_key(digest=bytes(32), prefix="p", name=None, subscription="s")
    with pytest.raises(BadRequestError, match="printable"):
        await ledger.make_customer("")
    with pytest.raises(BadRequestError, match="no timezone"):
        await ledger.make_customer("acme", timezone="Mars/Olympus")
    with pytest.raises(BadRequestError, match="has no 'colour'"):
        await ledger.make_customer("acme", colour="red")
    with pytest.raises(BadRequestError, match="timezone can't be empty"):
        await ledger.make_customer("acme", timezone="")
    with pytest.raises(NotFoundError, match="customer 'acme'"):
        await ledger.change_customer("acme", name="Acme")
    await make_key(ledger, "acme")
    await make_key(ledger, "zeta")
    with pytest.raises(ConflictError, match="another customer"):
        await ledger.make_subscription("acme", customer="zeta", plan="p", started_at=START)
    digest = key_digest(b"acmes1")
    with pytest.raises(ConflictError, match="make a new key"):
        await ledger.make_key(digest=digest, prefix="p", name=None, subscription="zeta")
    with pytest.raises(BadRequestError, match="32 bytes"):
        await ledger.make_key(digest=b"short", prefix="p", name=None, subscription="zeta")
    assert await ledger.standing("none", MONTH) is None
    with pytest.raises(BadRequestError, match="quarter hour"):
        await ledger.standing("acme", [START, START + timedelta(minutes=1)])
    with pytest.raises(BadRequestError, match="in order"):
        await ledger.standing("acme", [START + timedelta(days=1), START])


async def test_a_revoked_key_stops_and_what_runs_may_finish(ledger: Ledger, caller: Caller) -> None:
    key = await make_key(ledger)
    running = caller.call(key)
    await ledger.open(running)
    before = await ledger.configuration_sequence()
    record = await ledger.revoke_key(key.prefix)
    assert record.revoked_at is not None
    assert await ledger.configuration_sequence() > before
    assert await ledger.revoke_key(str(key.id)) == record
    found = await ledger.key(key_digest(b"acmes1"))
    assert found is not None
    assert found.revoked
    other = await make_key(ledger, "zeta")
    refused, admitted = await asyncio.gather(
        ledger.open(caller.call(key)), ledger.open(caller.call(other))
    )
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (401, "invalid_api_key")
    assert isinstance(admitted, Admission)
    assert await ledger.settle(settlement(running))


async def test_revoking_needs_one_key(ledger: Ledger) -> None:
    await make_key(ledger, "acme-1")
    await make_key(ledger, "acme-2")
    with pytest.raises(NotFoundError, match="keys list"):
        await ledger.revoke_key("nothing")
    with pytest.raises(NotFoundError):
        await ledger.revoke_key("")
    with pytest.raises(NotFoundError):
        await ledger.revoke_key("999")
    with pytest.raises(ConflictError, match="names 2 keys"):
        await ledger.revoke_key("wb-acme")
    await ledger.revoke_key("wb-acme-1")
    assert (await ledger.revoke_key("wb-acme")).subscription == "acme-2"


async def test_last_use_is_kept_to_the_minute(ledger: Ledger, caller: Caller) -> None:
    key = await make_key(ledger)
    for step in (0, 30, 61):
        caller.at_us = START_US + step * 1_000_000
        await ledger.open(caller.call(key))
    (record,) = await ledger.keys()
    assert record.last_used_at == START + timedelta(seconds=61)


async def test_a_passthrough_key_is_adopted_at_its_first_2xx(
    ledger: Ledger, caller: Caller
) -> None:
    digest = key_digest(b"sk-theirs")
    name = f"key-{digest.hex()[:12]}"
    refused = caller.call(digest=digest)
    await ledger.open(refused)
    assert await ledger.settle(settlement(refused, status=401, state=RequestState.FAILED))
    assert await ledger.subscription(name) is None
    calls = [caller.call(digest=digest) for _ in range(3)]
    await asyncio.gather(*(ledger.open(call) for call in calls))
    assert all(await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls)))
    subscription = await ledger.subscription(name)
    assert subscription is not None
    assert (subscription.plan, subscription.customer.external_id) == ("default", name)
    assert await totals(ledger, name) == {
        ("requests", "exact", "exact"): 3,
        ("tokens", "input", "exact"): 30,
        ("tokens", "output", "exact"): 15,
    }
    key = await ledger.key(digest)
    assert key is not None
    assert key.subscription == name
    assert len(await ledger.keys()) == 1


async def test_books_are_adopted_once(ledger: Ledger, clock: Clock) -> None:
    assert await ledger.book() is None
    first = await ledger.adopt_book("a = 1", "aa")
    before = await ledger.configuration_sequence()
    clock.us += 1
    assert await ledger.adopt_book("a = 1", "aa") == first
    assert await ledger.configuration_sequence() == before
    second = await ledger.adopt_book("a = 2", "bb")
    assert await ledger.configuration_sequence() > before
    third = await ledger.adopt_book("a = 1", "aa")
    assert first.sequence < second.sequence < third.sequence
    assert await ledger.book() == third
    assert third.reading == READING


async def test_a_text_that_is_read_otherwise_is_another_book(ledger: Ledger) -> None:
    old = await ledger.adopt_book("a = 1", "aa", reading=1)
    assert await ledger.adopt_book("a = 1", "aa", reading=1) == old
    new = await ledger.adopt_book("a = 1", "aa")
    assert (await ledger.book(old.sequence), await ledger.book()) == (old, new)
    assert (old.reading, new.reading) == (1, READING)
