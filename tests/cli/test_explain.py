"""``weighbridge prices explain``: on which invoice a request is, in words."""

import asyncio
from pathlib import Path

from proxy.core.ids import to_text
from tests.cli.conftest import PRICES, Weighbridge
from tests.periods.office import open_office


async def _requests(ledger: Path, *, billed: bool) -> list[str]:
    """A request in time and a late one, by their ids; ``billed``: the adjustment, too."""
    async with open_office(ledger) as office:
        await office.adopt(PRICES)
        key = await office.customer()
        calls = [await office.use(key, "2026-10-03", input=1_000_000)]
        await office.close("2026-11-02")
        calls.append(await office.use(key, "2026-10-04", input=1_000_000))
        if billed:
            await office.close("2026-12-02")
        return [to_text(call.id) for call in calls]


def test_what_came_late_names_both_invoices(weighbridge: Weighbridge, tmp_path: Path) -> None:
    first, late = asyncio.run(_requests(tmp_path / "ledger.db", billed=True))
    said = weighbridge("prices", "explain", first).out
    assert "by price book 1, as billed with WB-2026-000001\n" in said
    said = weighbridge("prices", "explain", late).out
    assert "by price book 1, billed with WB-2026-000002: it came after WB-2026-000001" in said
    assert "together USD 2.50" in said


SHARED = """
[models.m]
match = ["m-*"]
input = { mode = "volume", tiers = [{ up_to = 1_000_000, price = 9 }, { price = 1 }] }
"""


async def _divided_anew(ledger: Path) -> list[str]:
    """A request in time, and a late one that takes their pool to a lower price."""
    async with open_office(ledger) as office:
        await office.adopt(SHARED)
        key = await office.customer()
        calls = [await office.use(key, "2026-10-03", "m-1", input=1_000_000)]
        await office.close("2026-11-02")
        calls.append(await office.use(key, "2026-10-04", "m-2", input=1_000_000))
        await office.close("2026-12-02")
        return [to_text(call.id) for call in calls]


def test_a_line_that_late_usage_divides_anew_says_so(
    weighbridge: Weighbridge, tmp_path: Path
) -> None:
    first, late = asyncio.run(_divided_anew(tmp_path / "ledger.db"))
    assert "together USD 9.00" in weighbridge("prices", "explain", first).out
    said = weighbridge("prices", "explain", late).out
    assert "charged is what its line grows by, beyond what was billed" in said
    assert "together USD 1.00" in said
    table = weighbridge("invoice", "acme", "--period", "2026-11").out.splitlines()
    (anew,) = [line for line in table if line.startswith(" m-1")]
    assert anew.split() == [
        "m-1", "input", "0", "-8.00", "-8.00", "adjusts", "WB-2026-000001,",
        "divided", "anew", "by", "late", "usage",
    ]  # fmt: skip
    (own,) = [line for line in table if line.startswith(" m-2")]
    assert own.rstrip().endswith("adjusts WB-2026-000001")


def test_what_is_not_billed_yet_says_so(weighbridge: Weighbridge, tmp_path: Path) -> None:
    _, late = asyncio.run(_requests(tmp_path / "ledger.db", billed=False))
    said = weighbridge("prices", "explain", late).out
    assert "to be billed with the next invoice: it came after WB-2026-000001 was made" in said
