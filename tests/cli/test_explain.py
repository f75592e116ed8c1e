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


def test_what_is_not_billed_yet_says_so(weighbridge: Weighbridge, tmp_path: Path) -> None:
    _, late = asyncio.run(_requests(tmp_path / "ledger.db", billed=False))
    said = weighbridge("prices", "explain", late).out
    assert "to be billed with the next invoice: it came after WB-2026-000001 was made" in said
