"""Clients choose names without end: their series are bounded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.rating import Line, rate
from proxy.core.report import count_states
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import RequestState
from proxy.ledger import series
from proxy.ledger.maintenance import maintained
from proxy.ledger.port import Admission, OpenCall, Refusal, Settlement
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.verify import Verified, verify
from proxy.pricing import parse
from tests.ledger.calls import (
    START,
    Caller,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    usage,
)
from tests.ledger.limited import BOOK, adopt, bounded, differences, limited_key

MONTH = [START, datetime(2027, 1, 1, tzinfo=UTC)]


@pytest.fixture(autouse=True)
async def what_is_kept_is_right(ledger: SqliteLedger, path: Path) -> AsyncIterator[None]:
    """Every figure follows from the events."""
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
    assert all(len(dimensions.model) < 200 for dimensions in known)
