"""Edits that would change what was billed, or is to be: refused as a file that can't be read is."""

import logging
from pathlib import Path

import pytest

from proxy.billing.upkeep import BillingUpkeep
from proxy.ledger.sqlite import SqliteLedger
from tests.periods.office import PRICES, Office, upkeep

EUROS = f'\ncurrency = "EUR"\n{PRICES}'


async def save(chores: BillingUpkeep, path: Path, text: str) -> str | None:
    """Save the file, have it looked at, and return why it is refused."""
    path.write_text(text)
    for _ in range(2):
        await chores.look()
    refused: str | None = chores.status()["refused"]
    return refused


async def currency(office: Office) -> str:
    return (await office.shelf.in_force()).book.currency


async def test_until_something_is_used_the_currency_may_change(office: Office, path: Path) -> None:
    chores = upkeep(office, path)
    await chores.begin()
    await office.customer()
    assert await save(chores, path, EUROS) is None
    assert await currency(office) == "EUR"


async def test_once_anything_was_used_another_currency_is_refused(
    office: Office, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "weighbridge")
    key = await office.customer()
    await office.use(key, "2026-11-03", input=400_000)
    chores = upkeep(office, path)
    await chores.begin()
    refused = await save(chores, path, EUROS)
    assert refused == (
        f"{path}:2:1: currency: usage is in the ledger, and is billed in USD, not EUR: write "
        'currency = "USD" again, or bill in EUR from a ledger of its own (PROXY_DATABASE_URL)'
    )
    assert f"prices refused, those in force stay:\n{refused}" in caplog.messages
    assert await currency(office) == "USD"
    assert (await office.shelf.in_force()).sequence == 1

    # Another worker says so, too, and so does one that starts with the file.
    other = await SqliteLedger.open_database(tmp_path / "ledger.db", office.clock)
    try:
        second = upkeep(Office(other, office.clock), path)
        assert (await second.begin()).currency == "USD"
        for _ in range(2):
            await second.look()
        assert second.status()["refused"] == refused
    finally:
        await other.close()
    restarted = upkeep(office, path)
    assert (await restarted.begin()).currency == "USD"
    assert restarted.status()["refused"] == refused
    assert "prices refused: starting with those in force since" in caplog.text

    assert await save(chores, path, PRICES.replace("2.50", "2.00")) is None
    assert "prices can be read again" in caplog.messages
    assert (await office.shelf.in_force()).sequence == 2


async def test_what_failed_is_not_usage(office: Office, path: Path) -> None:
    key = await office.customer()
    call = await office.start(key, "2026-11-03")
    await office.fail(call)
    chores = upkeep(office, path)
    await chores.begin()
    assert await save(chores, path, EUROS) is None


async def test_prices_that_can_no_longer_be_read_are_not_compared(
    office: Office, path: Path
) -> None:
    key = await office.customer()
    await office.use(key, "2026-11-03", input=400_000)
    await office.adopt("input = 3")
    chores = upkeep(office, path)
    assert (await chores.begin()).currency == "USD"
    assert (await office.shelf.in_force()).sequence == 3


async def test_the_billing_time_of_a_plan_in_use_stays(office: Office, path: Path) -> None:
    key = await office.customer()
    await office.customer("idle", plan="pro")
    await office.use(key, "2026-11-03", input=400_000)
    chores = upkeep(office, path)
    await chores.begin()
    anniversary = '[plans.default]\nbilling_time = "anniversary"\n'
    refused = await save(chores, path, PRICES + anniversary)
    assert refused == (
        f"{path}:14:1: plans.default.billing_time: usage on this plan is billed by periods that "
        'are "calendar", not "anniversary", and they stay: write a plan of another name, and move '
        "subscriptions to it with 'weighbridge subscriptions change-plan'"
    )
    assert (await office.shelf.in_force()).sequence == 1
    # A plan that nothing was used on may be redrawn.
    unused = PRICES.replace("markup = 1.20", 'markup = 1.20\nbilling_time = "anniversary"')
    assert await save(chores, path, unused) is None


async def test_a_plan_in_use_that_goes_must_not_move_periods(office: Office, path: Path) -> None:
    key = await office.customer(plan="yearly")
    await office.use(key, "2026-11-03", input=400_000)
    chores = upkeep(office, path)
    await chores.begin()
    without = PRICES.split("[plans.yearly]")[0]
    refused = await save(chores, path, without)
    assert refused is not None
    assert "plans.yearly.billing_time: usage on this plan" in refused
    kept = f'{without}[plans.default]\nbilling_time = "anniversary"\n'
    assert await save(chores, path, kept) is None
