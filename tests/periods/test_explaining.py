"""Why a request costs what it does: by its period's prices, and adding up to the line."""

import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.billing.explaining import explain_request, render_explained
from proxy.core.ids import to_text
from proxy.core.usage import Metric, Quantity, Usage
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.port import OpenCall
from tests.ledger.calls import settlement, usage
from tests.periods.office import PRICES, Office, upkeep


async def test_the_requests_of_a_line_add_up_to_it(office: Office) -> None:
    key = await office.customer()
    calls = [
        await office.use(key, f"2026-11-0{day}", "o1", input=300_000 * day) for day in range(1, 6)
    ]
    amounts = [
        Decimal(render_explained(await explain_request(office.shelf, to_text(call.id)))["amount"])
        for call in calls
    ]
    invoice = await office.invoice("2026-11-20")
    assert sum(amounts) == Decimal(invoice["total"]["precise_amount"]) == Decimal("57.00")


async def test_a_closed_period_is_explained_by_its_own_prices(office: Office) -> None:
    key = await office.customer()
    call = await office.use(key, "2026-10-03", input=1_000_000)
    await office.close("2026-11-02")
    await office.adopt(PRICES.replace("2.50", "9.00"))
    explained = render_explained(await explain_request(office.shelf, to_text(call.id)))
    assert explained["amount"] == "2.50"
    assert explained["invoice"] == "WB-2026-000001"
    assert explained["prices"] == {"sequence": 1}
    rules = [step["rule"] for part in explained["quantities"] for step in part["steps"]]
    assert rules[0] == "match"


async def test_a_closed_period_is_read_as_it_was_billed(office: Office, path: Path) -> None:
    prices = (
        "[models.gpt-4]\npackage_size = 1_000\noutput = 0.06\n"
        "[plans.pro]\nmodels.gpt-4.output = 0.055\n"
    )
    path.write_text(prices)
    # As by an older program: a plan's own prices were for the packages of the file.
    sha256 = hashlib.sha256(prices.encode()).hexdigest()
    await office.ledger.adopt_book(prices, sha256, reading=1)
    key = await office.customer(plan="pro")
    call = await office.use(key, "2026-10-03", "gpt-4", output=1_000_000)
    await office.close("2026-11-02")
    await upkeep(office, path).begin()
    late = await office.use(key, "2026-10-04", "gpt-4", output=1_000_000)
    fresh = await office.use(key, "2026-11-03", "gpt-4", output=1_000_000)
    assert (await office.invoice("2026-11-05", "2026-10"))["total"]["precise_amount"] == "0.055"
    amounts = [(one["prices"], one["amount"]) for one in await told(office, call, late, fresh)]
    assert amounts == [
        ({"sequence": 2}, "0.055"),
        ({"sequence": 2}, "0.055"),
        ({"sequence": 3}, "55.00"),
    ]


async def told(office: Office, *calls: OpenCall) -> list[dict[str, Any]]:
    return [
        render_explained(await explain_request(office.shelf, to_text(call.id))) for call in calls
    ]


async def test_what_came_late_is_explained_as_its_adjustment_charges_it(office: Office) -> None:
    key = await office.customer()
    first = await office.use(key, "2026-10-03", "o1", input=900_000)
    await office.close("2026-11-02")
    await office.adopt(PRICES.replace("15.00", "100.00").replace("12.00", "100.00"))
    late = [
        await office.use(key, "2026-10-03T00:01", "o1", input=50_000),
        await office.use(key, "2026-10-31T23:59", "o1", input=150_000, output=100_000),
    ]
    for one in await told(office, *late):
        assert (one["invoice"], one["adjusts"]) == (None, "WB-2026-000001")
        assert one["prices"] == {"sequence": 1}
        assert one["period"]["start"] == "2026-10-01T00:00:00Z"
    amounts = [Decimal(one["amount"]) for one in await told(office, *late)]
    lines = {line["type"]: line for line in (await office.invoice("2026-11-03"))["lines"]}
    assert sum(amounts) == Decimal("2.70") + 6
    assert Decimal(lines["input"]["precise_amount"]) == Decimal("2.70")
    await office.close("2026-12-02")
    later = await office.use(key, "2026-10-03T00:02", "o1", input=100_000)
    (first_, *lates, later_) = await told(office, first, *late, later)
    assert (first_["invoice"], first_["adjusts"], first_["amount"]) == (
        "WB-2026-000001",
        None,
        "13.50",
    )
    assert [Decimal(one["amount"]) for one in lates] == amounts
    assert {(one["invoice"], one["adjusts"]) for one in lates} == {
        ("WB-2026-000002", "WB-2026-000001")
    }
    assert (later_["invoice"], later_["adjusts"], later_["amount"]) == (
        None,
        "WB-2026-000001",
        "1.20",
    )
    steps = {step["rule"]: step for part in later_["quantities"] for step in part["steps"]}
    assert steps["pool"]["result"] == "100000 of 1200000 units"
    assert steps["late"]["result"] == "1.20 for 100000 units"


async def test_a_late_request_of_a_month_without_usage_has_the_pool_that_is_billed(
    office: Office,
) -> None:
    key = await office.customer()
    await office.use(key, "2026-10-03", input=400_000)
    await office.close("2026-11-02")
    await office.adopt(PRICES.replace("15.00", "100.00"))
    calls = [await office.use(key, f"2026-08-1{day}", "o1", input=800_000) for day in (5, 6)]
    lates = await told(office, *calls)
    invoice = await office.invoice("2026-11-06")
    assert sum(Decimal(one["amount"]) for one in lates) == Decimal("22.20")
    assert invoice["total"]["amount"] == "22.20"
    assert {one["period"]["start"] for one in lates} == {"2026-08-01T00:00:00Z"}
    assert {(one["invoice"], one["adjusts"]) for one in lates} == {(None, "WB-2026-000001")}


async def test_audio_is_explained_in_seconds(office: Office) -> None:
    prices = '[models.whisper]\naudio_seconds = { price = 0.006, per = "minute" }\n'
    await office.adopt(PRICES + prices)
    call = await office.start(await office.customer(), "2026-11-03", "whisper")
    heard = Quantity(metric=Metric.AUDIO_SECONDS, type="", quantity=90_500_000)
    await office.ledger.settle(settlement(call, Usage(quantities=(heard,)), model="whisper"))
    explained = render_explained(await explain_request(office.shelf, to_text(call.id)))
    quantities = {part["metric"]: part["quantity"] for part in explained["quantities"]}
    assert quantities["audio_seconds"] == "90.5"
    assert explained["amount"] == "0.00905"


async def test_what_can_not_be_explained_is_told(office: Office) -> None:
    key = await office.customer()
    call = await office.start(key, "2026-11-03")
    with pytest.raises(NotFoundError, match="is open: it has no usage"):
        await explain_request(office.shelf, to_text(call.id))
    with pytest.raises(NotFoundError, match="no request wb_0000000000001"):
        await explain_request(office.shelf, "wb_0000000000001")
    with pytest.raises(BadRequestError, match="not a request id"):
        await explain_request(office.shelf, "17")
    await office.ledger.settle(settlement(call, usage(input=1), model="gpt-4o"))
    await explain_request(office.shelf, to_text(call.id))
