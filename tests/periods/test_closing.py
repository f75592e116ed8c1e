"""Periods close once, after their end and the grace time, and stay as they were."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.billing.books import BookShelf
from proxy.billing.closing import Closer
from proxy.billing.rated import usage_now
from proxy.core.money import total
from proxy.core.periods import Period
from proxy.core.rating import rate, windows
from proxy.core.times import to_us
from proxy.core.usage import RequestState
from proxy.errors import ConflictError, NotFoundError
from proxy.ledger.periods import Closing
from proxy.ledger.port import DeferredObject
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import assert_sums_equal_events, settlement, usage
from tests.periods.office import PRICES, Office, at

NOVEMBER = Period(start=at("2026-11-01"), end=at("2026-12-01"), timezone="UTC")


async def test_a_period_closes_after_its_end_and_the_grace_time(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1_000_000, output=500_000)
    assert await office.close("2026-11-30T23:59") == []
    assert await office.close("2026-12-01T00:59") == []
    (outcome,) = await office.close("2026-12-01T01:00")
    closed = outcome.closed
    assert closed is not None
    assert (closed.number, closed.amount, closed.currency) == ("WB-2026-000001", "7.50", "USD")
    assert closed.period.end == at("2026-12-01")
    assert await office.close("2026-12-05") == []
    invoice = await office.invoice("2026-12-05", "2026-11")
    assert invoice["status"] == "final"
    assert invoice["number"] == "WB-2026-000001"
    assert invoice["issued_at"] == "2026-12-01T01:00:00Z"
    assert invoice["total"] == {"amount": "7.50", "precise_amount": "7.50"}


async def test_what_still_runs_keeps_its_period_open(office: Office) -> None:
    key = await office.customer()
    call = await office.start(key, "2026-11-30T23:59")
    (left,) = await office.close("2026-12-02")
    assert left.closed is None
    assert "1 requests" in left.reason
    assert await office.ledger.settle(settlement(call, usage(input=4_000_000), model="gpt-4o"))
    (closed,) = await office.close("2026-12-02")
    assert closed.closed is not None
    assert closed.closed.amount == "10.00"


async def test_what_is_deferred_keeps_its_period_open_and_is_billed_in_it(office: Office) -> None:
    key = await office.customer()
    call = await office.start(key, "2026-11-30T23:59")
    deferred = settlement(call, state=RequestState.DEFERRED)
    deferred.object = DeferredObject("default", "resp_1")
    assert await office.ledger.settle(deferred)
    (left,) = await office.close("2026-12-02")
    assert left.closed is None
    settled = settlement(call, usage(input=4_000_000), model="gpt-4o")
    settled.settled_at_us += 2 * 86_400_000_000
    assert await office.ledger.settle(settled)
    (closed,) = await office.close("2026-12-02")
    assert closed.closed is not None
    assert closed.closed.amount == "10.00"


async def test_numbers_have_no_gaps_over_subscriptions(office: Office) -> None:
    for name in ("a", "b", "c"):
        key = await office.customer(name)
        await office.use(key, "2026-10-05", input=400_000)
        await office.use(key, "2026-11-05", input=800_000)
    await office.customer("idle")
    outcomes = await office.close("2026-12-02")
    numbers = [each.closed.number for each in outcomes if each.closed]
    assert numbers == [f"WB-2026-{n:06d}" for n in range(1, 7)]
    assert [p.amount for p in await office.ledger.closed_periods("b")] == ["1.00", "2.00"]


async def test_only_and_through_bound_what_is_closed(office: Office) -> None:
    for name in ("a", "b"):
        key = await office.customer(name)
        await office.use(key, "2026-09-05", input=400_000)
        await office.use(key, "2026-10-05", input=400_000)
    outcomes = await office.close("2026-12-02", only="a", through=at("2026-10-01"))
    assert [(o.subscription, o.period.end) for o in outcomes] == [("a", at("2026-10-01"))]
    with pytest.raises(NotFoundError, match="no subscription 'nobody'"):
        await office.close("2026-12-02", only="nobody")


async def test_a_closed_period_reproduces_whatever_happens_to_the_prices(office: Office) -> None:
    key = await office.customer()
    for day in range(1, 30):
        await office.use(key, f"2026-11-{day:02d}T07:31", "o1", input=70_001, output=333)
    (outcome,) = await office.close("2026-12-01T02:00")
    before = await office.invoice("2026-12-02", "2026-11")
    for edit in (
        PRICES.replace("2.50", "99.00"),
        'unpriced = "reject"',
        PRICES.replace("o1", "o9"),
    ):
        await office.adopt(edit)
        assert await office.invoice("2026-12-03", "2026-11") == before
    closed = outcome.closed
    assert closed is not None
    book = await office.shelf.of(closed.book_sequence)
    lines = rate(book, closed.sums, windows(book, closed.period))
    precise = total([line.amount for line in lines if line.amount is not None])
    assert f"{precise.normalize():f}" == closed.precise_amount.rstrip("0").rstrip(".")


async def test_a_closed_period_never_changes_and_never_goes(office: Office, tmp_path: Path) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1)
    await office.close("2026-12-02")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        for statement in ("UPDATE closed_periods SET amount = '0'", "DELETE FROM closed_periods"):
            with pytest.raises(sqlite3.IntegrityError, match="a closed period never"):
                connection.execute(statement)


async def test_closing_twice_at_once_makes_one_invoice(office: Office, tmp_path: Path) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1_000_000)
    other = await SqliteLedger.open_database(tmp_path / "ledger.db", office.clock)
    try:
        office.clock.us += 40 * 86_400 * 1_000_000
        activity = await office.ledger.activity_of("acme")
        edition = await office.shelf.in_force()
        assert activity is not None
        assert activity.first is not None
        first = await office.closer._close(activity, NOVEMBER, edition)
        second = await Closer(BookShelf(other), 0)._close(activity, NOVEMBER, edition)
        assert first.closed == second.closed is not None
    finally:
        await other.close()
    assert len(await office.ledger.closed_periods()) == 1


async def test_prices_that_moved_meanwhile_are_read_again(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1_000_000)
    stale = await office.shelf.in_force()
    await office.adopt(PRICES.replace("2.50", "3.00"))
    office.clock.us += 40 * 86_400 * 1_000_000
    activity = await office.ledger.activity_of("acme")
    assert activity is not None
    outcome = await office.closer._close(activity, NOVEMBER, stale)
    assert outcome.closed is not None
    assert outcome.closed.amount == "3.00"


async def test_facts_that_moved_are_refused(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1_000_000)
    edition = await office.shelf.in_force()
    bounds = windows(edition.book, NOVEMBER)
    facts = await office.ledger.period_sums("acme", bounds)
    assert facts is not None
    closing_ = Closing(
        period=NOVEMBER,
        bounds=bounds,
        facts=facts,
        book_sequence=edition.sequence,
        currency="USD",
        amount="2.50",
        precise_amount="2.50",
        invoice={},
    )
    await office.use(key, "2026-11-04", input=1)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        await office.ledger.close_period(closing_)
    with pytest.raises(ConflictError, match="moved meanwhile"):
        await office.ledger.close_period(replace(closing_, book_sequence=99))
    assert not await office.ledger.closed_periods()


async def test_an_invoice_names_the_plan_of_its_own_period(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=400_000)
    office.clock.us = to_us(at("2026-12-01T00:30"))
    await office.ledger.change_plan("acme", plan="pro")
    assert (await office.invoice("2026-12-01T00:40", "2026-11"))["plan"] == "default"
    assert (await office.invoice("2026-12-01T00:40"))["plan"] == "pro"
    (closed,) = await office.close("2026-12-01T01:00")
    assert closed.closed is not None
    assert closed.closed.invoice["plan"] == "default"
    assert not any("plan" in line for line in closed.closed.invoice["lines"])


async def test_a_clock_that_was_ahead_makes_nothing_count_twice(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=400_000)
    (november,) = await office.close("2026-12-02")
    assert november.closed is not None
    await office.use(key, "2026-11-20", input=800_000)
    current = await office.invoice("2026-11-21")
    assert current["period"]["start"] == "2026-12-01T00:00:00Z"
    assert current["total"]["amount"] == "2.00"
    assert {line["adjusts"]["number"] for line in current["lines"]} == {"WB-2026-000001"}
    assert await office.invoice("2026-11-21", "2026-12") == current
    book = (await office.shelf.in_force()).book
    usage_ = await usage_now(office.shelf, book, "acme", at("2026-11-21"))
    assert usage_ is not None
    assert str(usage_.amount) == "2.00"
    assert await office.close("2026-11-22") == []
    await office.use(key, "2026-12-05", input=400_000)
    (december,) = await office.close("2027-01-02")
    assert december.closed is not None
    assert (december.closed.period.start, december.closed.amount) == (at("2026-12-01"), "3.00")


async def test_late_usage_is_charged_with_the_next_period(office: Office, tmp_path: Path) -> None:
    key = await office.customer()
    await office.use(key, "2026-10-03", "o1", input=900_000)
    (october,) = await office.close("2026-11-02")
    assert october.closed is not None
    assert october.closed.amount == "13.50"
    before = await office.invoice("2026-11-03", "2026-10")
    await office.adopt(PRICES.replace("15.00", "100.00").replace("12.00", "100.00"))
    # 100,000 more fill the first tier at the old 15, the next 100,000 are in the second at 12.
    await office.use(key, "2026-10-31T23:59", "o1", input=200_000)
    await office.use(key, "2026-11-05", "gpt-4o", input=400_000)
    assert await office.invoice("2026-11-06", "2026-10") == before
    current = await office.invoice("2026-11-06")
    (line,) = [line for line in current["lines"] if "adjusts" in line and line["quantity"]]
    assert line["adjusts"]["number"] == "WB-2026-000001"
    assert (line["quantity"], line["precise_amount"]) == (200_000, "2.70")
    assert current["total"]["amount"] == "3.70"
    (november,) = await office.close("2026-12-02")
    assert november.closed is not None
    assert november.closed.amount == "3.70"
    # Later still: what was charged for October already is taken into account.
    await office.use(key, "2026-10-15", "o1", input=100_000)
    assert (await office.invoice("2026-12-03"))["total"]["amount"] == "1.20"
    (december,) = await office.close("2027-01-02")
    assert december.closed is not None
    assert (december.closed.number, december.closed.amount) == ("WB-2027-000003", "1.20")
    assert await office.close("2027-03-01") == []
    assert_sums_equal_events(tmp_path / "ledger.db")


async def test_late_usage_of_a_time_without_usage_is_its_own(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-10-03", input=400_000)
    await office.close("2026-11-02")
    await office.use(key, "2026-08-15", "o1", input=1_000_000)
    current = await office.invoice("2026-11-06")
    (line,) = [line for line in current["lines"] if line["metric"] == "tokens"]
    assert line["adjusts"]["period"]["start"] == "2026-08-01T00:00:00Z"
    assert (current["total"]["amount"], current["completeness"]["unpriced"]) == ("15.00", 0)
    for _ in range(2):
        await office.use(key, "2026-08-16", "nowhere", input=1_000_000)
    assert (await office.invoice("2026-11-06"))["completeness"]["unpriced"] == 2
    with pytest.raises(NotFoundError, match="used nothing in 2026-08"):
        await office.invoice("2026-11-06", "2026-08")


async def test_while_two_periods_are_open_late_usage_is_shown_once(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-09-03", input=400_000)
    await office.close("2026-10-02")
    await office.use(key, "2026-09-04", input=400_000)
    await office.use(key, "2026-10-04", input=400_000)
    await office.use(key, "2026-11-01T00:10", input=400_000)
    october = await office.invoice("2026-11-01T00:30", "2026-10")
    november = await office.invoice("2026-11-01T00:30")
    assert (october["total"]["amount"], november["total"]["amount"]) == ("2.00", "1.00")


async def test_a_timezone_moves_open_periods_but_no_closed_one(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-30T23:00", input=1_000_000)
    await office.ledger.change_customer("acme", timezone="Asia/Tokyo")
    assert (await office.invoice("2026-12-01T00:00"))["period"]["start"] == "2026-11-30T15:00:00Z"
    await office.ledger.change_customer("acme", timezone="America/New_York")
    (closed,) = await office.close("2026-12-02")
    assert closed.closed is not None
    with pytest.raises(ConflictError, match=r"of America/New_York \(WB-2026-000001 is the first"):
        await office.ledger.change_customer("acme", name="Acme", timezone="UTC")
    same = await office.ledger.change_customer("acme", name="Acme", timezone="America/New_York")
    assert same.name == "Acme"
