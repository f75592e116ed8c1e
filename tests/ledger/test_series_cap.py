"""Clients choose names without end: their series are bounded, and what is priced stays priced."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import Window
from proxy.core.rating import Line, rate
from proxy.core.report import count_states
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Metric, Quantity, RequestState, TokenType, Usage
from proxy.ledger import series
from proxy.ledger.maintenance import maintained
from proxy.ledger.port import Admission, OpenCall, Refusal, Settlement
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from proxy.pricing import parse
from tests.ledger.calls import (
    START,
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    usage,
)
from tests.ledger.limited import BOOK, adopt, bounded, differences, limited_key, spent

MONTH = [START, datetime(2027, 1, 1, tzinfo=UTC)]
CAP = 6


@pytest.fixture
def small_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "SERIES_PER_SEGMENT", CAP)


@pytest.fixture(autouse=True)
async def what_is_kept_is_right(ledger: SqliteLedger, path: Path) -> AsyncIterator[None]:
    """Whatever is folded, every figure follows from the events."""
    del ledger
    yield
    assert_sums_equal_events(path)
    assert differences(path) == []
    with maintained(path, up_to_date=True) as connection:
        assert not list(verify(connection, Verified()))


async def end(ledger: SqliteLedger, ended: Settlement, call: OpenCall) -> None:
    assert isinstance(await ledger.open(call), Admission)
    assert await ledger.settle(ended)


async def use(
    ledger: SqliteLedger, caller: Caller, key: ApiKey, names: Sequence[str], tokens: int = 10
) -> None:
    """Have each model used, by a name that is the reported one, too."""
    for name in names:
        call = bounded(caller, key, model=name)
        await end(ledger, settlement(call, usage(input=tokens), model=name), call)


def made_up(count: int) -> list[str]:
    return [f"made-up-{n}" for n in range(count)]


async def lines(ledger: SqliteLedger, book: str = BOOK) -> dict[str, Line]:
    """The period's lines by model, where each has one."""
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    rated = rate(parse(book), standing.sums, MONTH)
    assert len({line.model for line in rated}) == len(rated)
    return {line.model: line for line in rated}


def series_kept(path: Path) -> list[tuple[str, str, str]]:
    with database(path) as db:
        return db.execute("SELECT model, model_requested, type FROM series ORDER BY id").fetchall()


async def test_names_that_failed_take_no_place(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """Neither made-up ones, nor, with a budget, ones that fit a glob of the price book."""
    await adopt(ledger)
    key = await make_key(ledger)

    async def fail(names: Sequence[str], key: ApiKey) -> None:
        calls = [bounded(caller, key, model=name) for name in names]
        await asyncio.gather(*(ledger.open(call) for call in calls))
        ends = [
            settlement(call, usage(), state=RequestState.FAILED, status=404, model=call.model)
            for call in calls
        ]
        assert all(await asyncio.gather(*(ledger.settle(ended) for ended in ends)))

    await fail([f"made-up-{n}" for n in range(1000)], key)
    await ledger.set_limits({"spend_total": Decimal(600)}, subscription="acme")
    key = await limited_key(ledger)
    await fail([f"gpt-4o-{n}" for n in range(1000)], key)
    assert series_kept(path) == [("", "", "failed")]
    await ledger.set_limits({"spend_total": Decimal(1)}, subscription="acme")
    key = await limited_key(ledger)
    await use(ledger, caller, key, ["gpt-4o"] * 2, tokens=50)
    assert (await lines(ledger))["gpt-4o"].amount == 1
    refused = await ledger.open(bounded(caller, key))
    assert isinstance(refused, Refusal)
    assert refused.code == "insufficient_quota"
    standing = await ledger.standing("acme", MONTH)
    assert standing is not None
    counts = count_states(standing.sums)
    assert (counts[RequestState.FAILED], counts[RequestState.EXACT]) == (2000, 2)


async def test_a_failed_request_keeps_its_model_in_its_row(
    ledger: SqliteLedger, caller: Caller
) -> None:
    call = caller.call(await make_key(ledger), model="made-up")
    failed = settlement(call, usage(), state=RequestState.FAILED, status=404, model="made-up")
    await end(ledger, failed, call)
    record = await ledger.request(call.id)
    assert record is not None
    assert (record.model_requested, record.model) == ("made-up", "made-up")
    assert [(event.n, event.model, event.source) for event in record.events] == [(0, "", "failed")]


async def test_what_a_failed_request_used_keeps_its_names(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    call = caller.call(await make_key(ledger))
    failed = settlement(call, state=RequestState.FAILED, status=500, model="gpt-4o-x")
    await end(ledger, failed, call)
    assert series_kept(path) == [
        ("", "", "failed"),
        ("gpt-4o-x", "gpt-4o", "input"),
        ("gpt-4o-x", "gpt-4o", "output"),
    ]


@pytest.mark.usefixtures("small_cap")
async def test_what_nobody_prices_shares_one(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    for name in made_up(6):
        call = caller.call(key, model=name)
        await end(ledger, settlement(call), call)
    with database(path) as db:
        models = db.execute("SELECT model_requested, count(*) FROM series GROUP BY 1").fetchall()
    assert models == [("made-up-0", 3), ("made-up-1", 3), ("other", 3)]


@pytest.mark.usefixtures("small_cap")
async def test_beyond_the_cap_names_become_those_of_the_entries(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, made_up(10))
    await use(ledger, caller, key, [f"gpt-4o-{n}" for n in range(10)])
    await use(ledger, caller, key, ["packed"])
    found = await lines(ledger)
    assert found.keys() == {*made_up(3), "other", "gpt-4o", "packed"}
    assert (found["other"].quantity, found["other"].amount) == (70, None)
    assert (found["gpt-4o"].quantity, found["gpt-4o"].amount) == (100, Decimal(1))
    assert found["packed"].amount == 1
    beyond = series_kept(path)[CAP:]
    assert beyond == [
        (name, name if name == "other" else "", kind)
        for name in ("other", "gpt-4o", "packed")
        for kind in ("exact", "input")
    ]


@pytest.mark.usefixtures("small_cap")
async def test_beyond_the_cap_a_budget_is_charged_the_same(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, made_up(10))
    await ledger.set_limits({"spend_total": Decimal(5)}, subscription="acme")
    key = await limited_key(ledger)
    await use(ledger, caller, key, [f"gpt-4o-{n}" for n in range(5)])
    assert spent(path, Window.TOTAL) == (Decimal("0.50"), 0)


@pytest.mark.usefixtures("small_cap")
async def test_what_is_priced_by_the_name_asked_for_stays_so(
    ledger: SqliteLedger, caller: Caller
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, made_up(4))
    call = caller.call(key, model="gpt-4o")
    await end(ledger, settlement(call, usage(input=10), model="deployment-7"), call)
    assert (await lines(ledger))["gpt-4o"].amount == Decimal("0.10")


@pytest.mark.usefixtures("small_cap")
async def test_a_quantity_of_another_model_is_folded_by_that_one(
    ledger: SqliteLedger, caller: Caller
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, made_up(4))
    parts = [("gpt-4o-tool", 30), ("made-up-tool", 7)]
    used = Usage(
        quantities=tuple(
            Quantity(metric=Metric.TOKENS, type=TokenType.INPUT, quantity=n, model=name)
            for name, n in parts
        )
    )
    call = caller.call(key, model="packed")
    await end(ledger, settlement(call, used, model="packed"), call)
    found = await lines(ledger)
    assert found["gpt-4o"].amount == Decimal("0.30")
    assert (found["other"].quantity, found["other"].amount) == (17, None)


@pytest.mark.usefixtures("small_cap")
async def test_a_price_that_another_worker_adopts_counts_from_then_on(
    ledger: SqliteLedger, clock: Clock, caller: Caller
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, [*made_up(4), "new"])
    running = bounded(caller, key, model="new")
    assert isinstance(await ledger.open(running), Admission)
    other = await SqliteLedger.open_database(ledger._path, clock)
    text = BOOK.replace('[models."packed"]', '[models."new"]\ninput = 1\n[models."packed"]')
    try:
        await adopt(other, text)
        assert await ledger.settle(settlement(running, usage(input=10), model="new"))
        await use(ledger, caller, key, ["new"])
        await use(other, Caller(worker=2), key, ["new"])
    finally:
        await other.close()
    found = await lines(ledger, text)
    assert (found["new"].quantity, found["new"].amount) == (30, Decimal("0.30"))
    assert (found["other"].quantity, found["other"].amount) == (20, None)


@pytest.mark.usefixtures("small_cap")
async def test_what_is_recovered_is_folded_alike(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await use(ledger, caller, key, made_up(4))
    dying = await SqliteLedger.open_database(path, clock)
    await dying.open(bounded(Caller(worker=2), key, into=400, model="gpt-4o-mine"))
    await dying.close()
    assert await ledger.recover() == 1
    assert (await lines(ledger))["gpt-4o"].amount == Decimal("1.00")


async def test_names_remembered_are_bounded(
    ledger: SqliteLedger, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "_REMEMBERED", 20)
    key = await make_key(ledger)
    for name in [*made_up(50), "long" * 100]:
        call = caller.call(key, model=name)
        failed = settlement(call, usage(), state=RequestState.FAILED, status=404, model=name)
        await end(ledger, failed, call)
    known = ledger._booking._series._known
    assert len(known) <= 21
    assert all(len(model) < 200 for _, model, *_ in known)
