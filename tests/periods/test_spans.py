"""Periods where clocks change, plans change, timezones change: they tile, and bill once."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.billing.rated import usage_now
from proxy.billing.spans import moment_of, next_to_close, period_at
from proxy.core.book import PriceBook
from proxy.core.subscriptions import Customer, Subscription, key_digest
from proxy.core.times import to_us
from proxy.errors import BadRequestError
from proxy.ledger.periods import Activity
from proxy.pricing import parse
from tests.ledger.calls import assert_sums_equal_events
from tests.periods.office import PRICES, Office, at, open_office

SUBSCRIPTION = Subscription(
    id=1,
    external_id="acme",
    customer=Customer(
        id=1, external_id="acme", name=None, email=None, currency="USD", timezone="UTC",
        created_at=at("2026-01-31"),
    ),
    plan="default",
    started_at=at("2026-01-31"),
)  # fmt: skip


async def test_new_yorks_november_has_721_hours(office: Office) -> None:
    key = await office.customer(timezone="America/New_York")
    for when in ("2026-11-01T03:59", "2026-11-01T04:00", "2026-12-01T04:59", "2026-12-01T05:00"):
        await office.use(key, when, input=400_000)
    assert [o.period.end for o in await office.close("2026-11-02")] == [at("2026-11-01T04:00")]
    (november,) = await office.close("2026-12-02")
    assert november.period.end - november.period.start == timedelta(hours=721)
    assert november.closed is not None
    assert november.closed.amount == "2.00"
    assert (await office.invoice("2026-12-02"))["total"]["amount"] == "1.00"
    assert (await office.invoice("2026-12-02", "2026-11"))["number"] == november.closed.number
    assert (await office.invoice("2026-12-02", "2026-11-30"))["number"] == november.closed.number


async def test_a_plan_change_makes_segments_that_are_rated_apart(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-19", "o1", input=1_000_000)
    await office.ledger.change_plan("acme", plan="pro")
    changed = await office.ledger.key(key_digest(b"acme"))
    assert changed is not None
    await office.use(changed, "2026-11-20T00:01", "o1", input=1_000_000)
    (closed,) = await office.close("2026-12-02")
    assert closed.closed is not None
    # Each segment has its own pool: both millions are in the first tier, the second marked up.
    assert closed.closed.amount == "33.00"
    lines = closed.closed.invoice["lines"]
    assert [(line.get("plan"), line["amount"]) for line in lines] == [
        ("default", "15.00"),
        (None, "18.00"),
    ]


async def test_a_new_billing_time_holds_from_the_end_of_the_running_period(office: Office) -> None:
    key = await office.customer(since="2026-01-10")
    await office.use(key, "2026-10-20", input=400_000)
    await office.close("2026-11-02")
    await office.ledger.change_plan("acme", plan="yearly")
    for when in ("2026-11-25", "2026-11-05", "2026-12-05", "2026-12-15"):
        await office.use(key, when, input=400_000)
    book = (await office.shelf.in_force()).book
    now = await usage_now(office.shelf, book, "acme", at("2026-11-26"))
    assert now is not None
    assert (now.period.start, str(now.amount)) == (at("2026-11-01"), "2.00")
    outcomes = await office.close("2027-02-01")
    ends = [at(day) for day in ("2026-12-01", "2026-12-10", "2027-01-10")]
    assert [o.period.end for o in outcomes] == ends
    assert [o.period.start for o in outcomes] == [at("2026-11-01"), *ends[:-1]]
    assert [o.closed and o.closed.amount for o in outcomes] == ["2.00", "1.00", "1.00"]
    now = await usage_now(office.shelf, book, "acme", at("2027-01-12"))
    assert now is not None
    assert (now.period.start, now.period.end) == (at("2027-01-10"), at("2027-02-10"))


FREE = PRICES.replace("input = 2.50", "input = { price = 2.50, free_units = 1_000_000 }")


@pytest.mark.parametrize(
    ("plans", "periods"),
    [
        (("default", "yearly"), [("2026-11-01", "2026-12-01")]),
        (("yearly", "default"), [("2026-10-10", "2026-11-10"), ("2026-11-10", "2026-12-10")]),
    ],
)
async def test_a_plan_change_gives_nothing_free_twice(
    office: Office, plans: tuple[str, str], periods: list[tuple[str, str]]
) -> None:
    await office.adopt(FREE)
    key = await office.customer(since="2026-01-10", plan=plans[0])
    await office.use(key, "2026-11-03", input=1_000_000)
    await office.use(key, "2026-11-20", input=1_000_000)
    office.clock.us = to_us(at("2026-11-25"))
    before = await office.invoice("2026-11-25", "2026-11-20")
    await office.ledger.change_plan("acme", plan=plans[1])
    after = await office.invoice("2026-11-25", "2026-11-20")
    assert (after["period"], after["total"]) == (before["period"], before["total"])
    outcomes = await office.close("2027-01-02")
    assert [(o.period.start, o.period.end) for o in outcomes] == [
        (at(start), at(end)) for start, end in periods
    ]
    amounts = [Decimal(o.closed.amount) for o in outcomes if o.closed]
    # Within one period the second million is paid; in two, each has its own that is free.
    assert sum(amounts) == (Decimal("2.50") if len(periods) == 1 else 0)


def _activity(**values: Any) -> Activity:
    standing = {"subscription": SUBSCRIPTION, "through": None, "first": None, "late": False}
    return Activity(**(standing | values))


def test_nothing_used_is_nothing_to_close() -> None:
    assert next_to_close(PriceBook(), _activity(), at("2026-12-01")) is None


def test_late_usage_alone_goes_with_the_last_period_that_ended() -> None:
    activity = _activity(through=at("2026-10-01"), late=True)
    period = next_to_close(PriceBook(), activity, at("2026-11-20"))
    assert period is not None
    assert period.start == at("2026-10-01")
    activity = _activity(through=at("2026-11-01"), late=True)
    period = next_to_close(PriceBook(), activity, at("2026-11-20"))
    assert period is not None
    assert period.start == at("2026-11-01")


@pytest.mark.parametrize(
    "text",
    ["", "2026", "2026-13", "2026-1", "junk-xx", "2026-02-30", "9999-12", "9999-12-15", "9998-13",
     "0001-01", "1969-12-31"],
)  # fmt: skip
def test_what_is_no_period_is_told(text: str) -> None:
    with pytest.raises(BadRequestError, match="is no period"):
        moment_of(text, "UTC")


def test_a_month_means_the_period_that_begins_in_it() -> None:
    book = parse('[plans.default]\nbilling_time = "anniversary"')
    for month, start in (("2026-12", "2026-12-31"), ("2027-02", "2027-02-28")):
        assert period_at(book, SUBSCRIPTION, moment_of(month, "UTC")).start == at(start)


MIXED = parse('[plans.yearly]\nbilling_time = "anniversary"')


def _changing(*changes: tuple[str, str]) -> Subscription:
    plans = tuple((at(since), plan) for since, plan in changes)
    return replace(SUBSCRIPTION, started_at=plans[0][0], plan=changes[-1][1], plans=plans)


@pytest.mark.parametrize(
    ("moment", "through", "start", "end"),
    [
        ("2025-03-01", None, "2025-03-01", "2025-04-01"),  # before the start
        ("2026-02-20", None, "2026-02-01", "2026-03-01"),
        ("2026-03-30", None, "2026-03-01", "2026-04-01"),  # on another plan since the 15th
        ("2026-04-01", None, "2026-04-01", "2026-04-20"),
        ("2026-05-25", None, "2026-05-20", "2026-06-20"),
        ("2026-06-01", None, "2026-05-20", "2026-06-20"),  # there and back within one period
        ("2026-06-20", None, "2026-06-20", "2026-07-20"),
        ("2026-08-05", None, "2026-07-20", "2026-08-20"),  # calendar since the 1st
        ("2026-08-25", None, "2026-08-20", "2026-09-01"),
        ("2030-01-05", None, "2030-01-01", "2030-02-01"),
        ("2026-04-05", "2026-04-01", "2026-04-01", "2026-04-20"),
        ("2026-08-25", "2026-08-10", "2026-08-10", "2026-09-01"),  # closed by other terms
        ("2026-09-05", "2026-08-10", "2026-09-01", "2026-10-01"),
    ],
)
def test_each_period_is_drawn_by_the_plan_at_its_start(
    moment: str, through: str | None, start: str, end: str
) -> None:
    subscription = _changing(
        ("2026-02-20", "default"),
        ("2026-03-15", "yearly"),
        ("2026-06-01", "default"),
        ("2026-06-10", "yearly"),
        ("2026-08-01", "default"),
    )
    period = period_at(MIXED, subscription, at(moment), at(through) if through else None)
    assert (period.start, period.end) == (at(start), at(end))


@given(
    gaps=st.lists(st.tuples(st.integers(1, 70), st.booleans()), min_size=1, max_size=5),
    day=st.integers(-40, 500),
)
def test_periods_tile_whatever_the_plans_were(gaps: list[tuple[int, bool]], day: int) -> None:
    since, changes = at("2026-01-31"), []
    for days, yearly in gaps:
        changes.append((since, "yearly" if yearly else "default"))
        since += timedelta(days=days)
    subscription = replace(
        SUBSCRIPTION, started_at=at("2026-01-31"), plan=changes[-1][1], plans=tuple(changes)
    )
    moment = at("2026-01-31") + timedelta(days=day)
    period = period_at(MIXED, subscription, moment)
    assert moment in period
    last, following = (
        period_at(MIXED, subscription, each)
        for each in (period.end - timedelta(microseconds=1), period.end)
    )
    assert (last, following.start) == (period, period.end)
    # To close it changes nothing of what follows.
    assert period_at(MIXED, subscription, period.end, period.end) == following


USES = st.lists(
    st.tuples(
        st.integers(0, 119),  # days from 2026-08-01
        st.sampled_from(["gpt-4o", "o1", "unknown"]),
        st.integers(1, 3_000_000),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(known=USES, late=USES, later=USES)
def test_whatever_comes_when_every_token_is_billed_once(
    known: list[tuple[int, str, int]],
    late: list[tuple[int, str, int]],
    later: list[tuple[int, str, int]],
) -> None:
    """The invoices together are what the periods would have cost, had all been known in time."""

    async def check() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.db"
            async with open_office(path) as office:
                await office.adopt()
                key = await office.customer(since="2026-08-01")
                for uses, close in (
                    (known, "2026-10-15"),
                    (late, "2026-11-15"),
                    (later, "2027-02-15"),
                ):
                    for day, model, tokens in uses:
                        when = (at("2026-08-01") + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M")
                        await office.use(key, when, model, input=tokens)
                    await office.close(close)
                billed = [Decimal(p.precise_amount) for p in await office.ledger.closed_periods()]
                expected = _in_time([*known, *late, *later])
                assert sum(billed) == expected
            assert_sums_equal_events(path)

    asyncio.run(check())


def _in_time(uses: list[tuple[int, str, int]]) -> Decimal:
    months: dict[tuple[int, str], int] = {}
    for day, model, tokens in uses:
        month = (at("2026-08-01") + timedelta(days=day)).month
        months[month, model] = months.get((month, model), 0) + tokens
    total = Decimal(0)
    for (_, model), tokens in months.items():
        if model == "gpt-4o":
            total += Decimal("2.50") * tokens / 1_000_000
        elif model == "o1":
            first = min(tokens, 1_000_000)
            total += (15 * Decimal(first) + 12 * Decimal(tokens - first)) / 1_000_000
    return total
