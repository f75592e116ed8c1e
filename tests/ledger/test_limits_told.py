"""What limits refuse beside budgets that are used up, what they tell, and what they cost."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.usage import Measurement, Metric, Quantity, RequestState, TokenType, Usage
from proxy.errors import BadRequestError, LedgerUnavailableError, NotFoundError
from proxy.ledger.port import Admission, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    Caller,
    Clock,
    database,
    make_key,
    settlement,
    usage,
)
from tests.ledger.limited import BOOK, adopt, bounded, kept, limited_key

DAY_US = 86_400_000_000


async def test_requests_and_tokens_a_minute(
    ledger: SqliteLedger, clock: Clock, caller: Caller, path: Path
) -> None:
    await make_key(ledger)
    await ledger.set_limits(
        {"requests_per_minute": 3, "tokens_per_minute": 1000}, subscription="acme"
    )
    key = await limited_key(ledger)
    calls = [bounded(caller, key, model="nobody knows") for _ in range(4)]
    outcomes = [await ledger.open(call) for call in calls]
    assert [isinstance(outcome, Admission) for outcome in outcomes] == [True, True, True, False]
    first, last = outcomes[0], outcomes[-1]
    assert isinstance(first, Admission)
    assert first.allowance is not None
    assert first.allowance.requests is not None
    assert first.allowance.requests.remaining == 2
    assert isinstance(last, Refusal)
    assert last.retry_after_s == pytest.approx(20, abs=0.01)
    assert last.allowance is not None
    clock.us += 20_000_000
    assert isinstance(await ledger.open(bounded(caller, key)), Admission)
    await ledger.settle(settlement(calls[0], usage(input=2000)))
    clock.us += 20_000_000
    refused = await ledger.open(bounded(caller, key))
    assert isinstance(refused, Refusal)
    assert "1000 tokens a minute" in refused.message
    assert spent_windows(path) == 0


def spent_windows(path: Path) -> int:
    return len(kept(path)[2].state.spends)


async def test_a_budget_refuses_what_has_no_price(ledger: SqliteLedger, caller: Caller) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    key = await limited_key(ledger)
    refused = await ledger.open(bounded(caller, key, model="gpt-5o"))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (400, "model_not_priced")
    assert "such as gpt-4o" in refused.message
    refused = await ledger.open(bounded(caller, key, model=""))
    assert isinstance(refused, Refusal)
    assert "names no model" in refused.message


async def test_who_does_not_know_of_the_limit_is_told(ledger: SqliteLedger, caller: Caller) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    refused = await ledger.open(caller.call(key))
    assert isinstance(refused, Refusal)
    assert refused.limits_changed


async def test_nothing_limited_is_admitted_while_the_spool_has_something(
    ledger: SqliteLedger, caller: Caller
) -> None:
    key = await make_key(ledger)
    ledger.spooled = lambda: True
    assert isinstance(await ledger.open(caller.call(key)), Admission)
    with pytest.raises(LedgerUnavailableError, match="recorded"):
        await ledger.open(bounded(caller, key))


async def test_thresholds_are_logged_once(
    ledger: SqliteLedger, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits(
        {"spend_total": Decimal(1), "soft_thresholds": (Decimal("0.3"),)}, subscription="acme"
    )
    key = await limited_key(ledger)
    for used in (20, 5, 15, 0):
        call = bounded(caller, key)
        outcome = await ledger.open(call)
        assert isinstance(outcome, Admission)
        await ledger.settle(settlement(call, usage(input=used, output=0)))
    (record,) = [r for r in caplog.records if "threshold" in r.message and r.name == "weighbridge"]
    assert "Subscription acme has used 0.4 of" in record.message
    assert outcome.allowance is not None
    assert outcome.allowance.used == Decimal("0.4")


async def test_what_is_asked_for_is_there(ledger: SqliteLedger, caller: Caller) -> None:
    await adopt(ledger)
    await make_key(ledger)
    assert list(await ledger.limits("acme")) == []
    assert list(await ledger.limits("nobody")) == []
    with pytest.raises(BadRequestError):
        await ledger.set_limits({}, subscription="acme")
    with pytest.raises(NotFoundError):
        await ledger.set_limits({"spend_total": Decimal(1)}, subscription="nobody")
    with pytest.raises(NotFoundError):
        await ledger.set_limits({"spend_total": Decimal(1)}, key="nothing")
    await ledger.set_limits({"spend_total": Decimal(1)}, subscription="acme")
    assert await ledger.limited() == ["acme"]
    (standing,) = await ledger.limits("acme")
    assert standing.state.spends[0].spent == 0
    key = await limited_key(ledger)
    await ledger.open(bounded(caller, key))
    (standing,) = await ledger.limits("acme")
    assert standing.state.spends[0].reserved == Decimal("0.50")


async def test_a_tool_that_is_a_model_is_counted_as_it(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    await ledger.open(call)
    own = Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=5)
    drawn = Quantity(metric=Metric.TOKENS, type=TokenType.OUTPUT, quantity=7, model="gpt-image-1")
    end = settlement(call)
    end.measurement = Measurement(state=RequestState.EXACT, usage=Usage(quantities=(own, drawn)))
    await ledger.settle(end)
    with database(path) as connection:
        found = connection.execute(
            "SELECT model, quantity FROM series JOIN events ON series_id = series.id"
            " WHERE metric = 'tokens' ORDER BY 1"
        ).fetchall()
    assert found == [("gpt-4o-2024-08-06", 5), ("gpt-image-1", 7)]


async def test_nobody_pays_for_limits_that_are_not_there(
    ledger: SqliteLedger, caller: Caller
) -> None:
    await adopt(ledger, BOOK.split("[plans")[0])
    key = await make_key(ledger)
    statements: list[str] = []
    await _traced(ledger, statements.append)
    for _ in range(3):
        call = caller.call(key)
        await ledger.open(call)
        await ledger.settle(settlement(call))
    assert not [text for text in statements if "limit_states" in text and "EXISTS" not in text]
    assert not [text for text in statements if "reserved" in text]


async def _traced(ledger: SqliteLedger, trace: Callable[[str], object]) -> None:
    connection = ledger._writer._connection
    assert connection is not None
    await connection.run(lambda db: db.set_trace_callback(trace))
