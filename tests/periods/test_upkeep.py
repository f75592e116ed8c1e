"""What a worker does by itself: it adopts edits, tells their effect, and closes periods."""

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.billing import upkeep as billing_upkeep
from proxy.billing.repricing import reprice
from proxy.core.times import to_us
from proxy.errors import PricingError
from proxy.ledger.sqlite import SqliteLedger
from proxy.pricing import parse
from tests.ledger.calls import settlement, usage
from tests.periods.office import PRICES, Office, at, upkeep

PATIENCE_S = 20.0


async def test_an_edit_is_told_with_its_effect(
    office: Office, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "weighbridge")
    key = await office.customer()
    await office.customer("idle")
    await office.use(key, "2026-11-03", input=2_000_000)
    chores = upkeep(office, path)
    await chores.begin()
    path.write_text(PRICES.replace("2.50", "2.00"))
    for _ in range(2):
        await chores.look()
    await asyncio.gather(*chores._background)
    assert "prices: gpt-4o input 2.50 -> 2.00" in caplog.messages
    assert "prices: the open period of 1 of 2 subscriptions changed by USD -1.00" in caplog.messages


async def test_a_plan_that_an_edit_removes_is_told_with_who_is_on_it(
    office: Office, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "weighbridge")
    for name, plan in (("one", "pro"), ("two", "pro"), ("moved", "pro"), ("other", "default")):
        await office.customer(name, plan=plan)
    await office.ledger.change_plan("moved", plan="default")
    chores = upkeep(office, path)
    await chores.begin()
    path.write_text(PRICES.replace("[plans.pro]", "[plans.gold]"))
    for _ in range(2):
        await chores.look()
    await asyncio.gather(*chores._background)
    assert "prices: plan gold added" in caplog.messages
    (told,) = (line for line in caplog.messages if line.startswith("prices: plan pro removed"))
    assert "subscriptions on it (2) are billed as default" in told


async def test_who_does_not_lead_adopts_nothing_and_still_knows(
    office: Office, path: Path, tmp_path: Path
) -> None:
    first = upkeep(office, path)
    await first.begin()
    other = await SqliteLedger.open_database(tmp_path / "ledger.db", office.clock)
    try:
        second = upkeep(Office(other, office.clock), path)
        await second.begin()
        path.write_text(PRICES.replace("2.50", "3.00"))
        for _ in range(3):
            await second.look()
        assert (await office.shelf.in_force()).sequence == 1
        path.write_text("input = -1\n")
        for _ in range(3):
            await second.look()
        assert ":1:1: " in second.status()["refused"]
    finally:
        await other.close()


async def test_without_prices_there_is_no_start(tmp_path: Path) -> None:
    ledger = await SqliteLedger.open_database(tmp_path / "empty.db")
    try:
        chores = upkeep(Office(ledger, ledger._clock), tmp_path / "none.toml")  # type: ignore[arg-type]
        with pytest.raises(PricingError, match="no such file"):
            await chores.begin()
    finally:
        await ledger.close()


async def test_what_is_due_is_closed_by_who_leads(
    office: Office,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO, "weighbridge")
    key = await office.customer()
    await office.use(key, "2026-10-03", input=2_000_000)
    running = await office.start(key, "2026-11-03")
    chores = upkeep(office, path)
    await chores.begin()
    assert await chores.close_due()
    assert "closed acme through 2026-11-01T00:00:00Z: WB-2026-000001, USD 5.00" in caplog.messages
    office.clock.us = to_us(at("2026-12-02"))
    assert not await chores.close_due()
    assert "1 requests that were accepted before its end still run" in caplog.text
    monkeypatch.setattr(billing_upkeep, "CLOSE_EVERY_S", 0.01)
    task = asyncio.create_task(chores.close())
    await asyncio.sleep(0.05)
    assert "WB-2026-000002" not in caplog.text
    assert await office.ledger.settle(settlement(running, usage(input=1_000_000)))
    async with asyncio.timeout(PATIENCE_S):
        while "acme through 2026-12-01T00:00:00Z: WB-2026-000002, USD 2.50" not in caplog.text:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_versions_with_a_date_reprice_from_then_on(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=1_000_000)
    await office.use(key, "2026-11-16", input=1_000_000)
    old = parse(PRICES)
    dated = '[[models."gpt-4o".versions]]\neffective_from = 2026-11-15\ninput = 1.50\n'
    effect = await reprice(office.shelf, old, parse(PRICES + dated), at("2026-11-20"))
    assert str(effect) == "the open period of 1 of 1 subscriptions changed by USD -1.00"
    assert not (await reprice(office.shelf, old, old, at("2026-11-20"))).changed


async def test_periods_that_ended_and_are_not_closed_are_told_too(office: Office) -> None:
    key = await office.customer()
    await office.customer("idle")
    await office.use(key, "2026-10-03", input=1_000_000)
    await office.use(key, "2026-11-01T00:10", input=500_000)
    old, new = parse(PRICES), parse(PRICES.replace("2.50", "2.00"))
    assert str(await reprice(office.shelf, old, new, at("2026-11-01T00:30"))) == (
        "the open period of 1 of 2 subscriptions changed by USD -0.75, USD -0.50 of it in periods "
        "that have ended and are not closed yet (through 2026-11-01T00:00:00Z)"
    )
    await office.close("2026-11-01T01:00")
    effect = await reprice(office.shelf, old, new, at("2026-11-01T01:10"))
    assert str(effect) == "the open period of 1 of 2 subscriptions changed by USD -0.25"


async def test_of_many_ends_the_first_are_told(office: Office) -> None:
    key = await office.customer()
    for month in (6, 7, 8, 9):
        await office.use(key, f"2026-{month:02d}-03", input=1_000_000)
    old, new = parse(PRICES), parse(PRICES.replace("2.50", "3.00"))
    assert str(await reprice(office.shelf, old, new, at("2026-11-01T00:30"))) == (
        "the open period of 1 of 1 subscriptions changed by USD +2.00, USD +2.00 of it in periods "
        "that have ended and are not closed yet (through 2026-07-01T00:00:00Z, "
        "2026-08-01T00:00:00Z, 2026-09-01T00:00:00Z and later)"
    )


async def test_usage_ahead_of_the_clock_is_repriced_in_its_own_period(office: Office) -> None:
    key = await office.customer()
    await office.use(key, "2026-12-03", input=1_000_000)
    old, new = parse(PRICES), parse(PRICES.replace("2.50", "3.00"))
    effect = await reprice(office.shelf, old, new, at("2026-11-20"))
    assert str(effect) == "the open period of 1 of 1 subscriptions changed by USD +0.50"
