"""Periods where clocks change, plans change, timezones change: they tile, and bill once."""

import asyncio
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
from proxy.errors import BadRequestError
from proxy.ledger.periods import Activity
from proxy.pricing import parse
from tests.ledger.calls import assert_sums_equal_events
from tests.periods.office import Office, at, open_office

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


async def test_periods_never_overlap_where_the_billing_time_changes(office: Office) -> None:
    key = await office.customer(since="2026-01-10")
    await office.use(key, "2026-10-20", input=400_000)
    await office.close("2026-11-02")
    await office.ledger.change_plan("acme", plan="yearly")
    await office.use(key, "2026-11-25", input=400_000)
    await office.use(key, "2026-11-05", input=400_000)
    outcomes = await office.close("2027-01-01")
    spans = [(o.period.start, o.period.end) for o in outcomes]
    assert spans == [(at("2026-11-01"), at("2026-11-10")), (at("2026-11-10"), at("2026-12-10"))]
    assert {o.closed and o.closed.amount for o in outcomes} == {"1.00"}
    book = (await office.shelf.in_force()).book
    now = await usage_now(office.shelf, book, "acme", at("2026-12-05"))
    assert now is not None
    assert now.period.start == at("2026-11-10")


async def test_the_open_period_begins_where_the_last_closed_one_ends(office: Office) -> None:
    key = await office.customer(since="2026-01-10")
    await office.use(key, "2026-10-20", input=400_000)
    await office.close("2026-11-02")
    await office.ledger.change_plan("acme", plan="yearly")
    await office.use(key, "2026-11-05", input=400_000)
    book = (await office.shelf.in_force()).book
    current = await usage_now(office.shelf, book, "acme", at("2026-11-06"))
    assert current is not None
    assert current.period.start == at("2026-11-01")
    assert current.period.end == at("2026-11-10")
    assert str(current.amount) == "1.00"


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
    "text", ["", "2026", "2026-13", "2026-1", "junk-xx", "2026-02-30", "9999-12"]
)
def test_what_is_no_period_is_told(text: str) -> None:
    with pytest.raises(BadRequestError, match="is no period"):
        moment_of(text, "UTC")


def test_a_month_means_the_period_that_begins_in_it() -> None:
    book = parse('[plans.default]\nbilling_time = "anniversary"')
    for month, start in (("2026-12", "2026-12-31"), ("2027-02", "2027-02-28")):
        assert period_at(book, SUBSCRIPTION, moment_of(month, "UTC")).start == at(start)


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
