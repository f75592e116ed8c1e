"""An invoice to look at: every value escaped, every line there, cents that add up."""

from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.billing.page import invoice_page
from proxy.core.invoices import invoice, render_csv, render_invoice
from proxy.core.periods import Period
from proxy.core.report import current_usage
from proxy.pricing import parse
from tests.core.rows import END, START, row
from tests.periods.test_spans import SUBSCRIPTION

BOOK = parse(
    """
[models.m]
input = { price = 2.50, free_units = 1_000 }
output = { mode = "graduated", tiers = [{ up_to = 1_000_000, price = 10.00 }, { price = 8.00 }] }
long_context = { above = 272_000, input = 5.00 }
audio_seconds = 0.006
requests = 0.01
[[models.m.versions]]
effective_from = 2026-11-15
input = 2.00
[plans.pro]
markup = 1.20
"""
)
BOUNDS = [START, *BOOK.boundaries(START, END), END]
NOVEMBER = Period(start=START, end=END, timezone="UTC")


class Cells(HTMLParser):
    """Collects what stands in the cells of each row, and which elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: set[str] = set()
        self._within = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self._within = True

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._within = False

    def handle_data(self, data: str) -> None:
        if self._within:
            self.rows[-1][-1] += data


def rendered(*sums: Any) -> dict[str, Any]:
    usage = current_usage(
        BOOK, subscription=SUBSCRIPTION, period=NOVEMBER, bounds=BOUNDS, sums=sums
    )
    return render_invoice(invoice(usage))


def read(page: str) -> Cells:
    cells = Cells()
    cells.feed(page)
    return cells


def test_every_line_is_a_row_and_the_total_is_last() -> None:
    cells = read(
        invoice_page(
            rendered(
                row("input", 5_000),
                row("input", 5_000, window=1, plan="pro", segment=2),
                row("input", 300_000, context_class="above_272000", tier="flex"),
                row("output", 2_000_000),
                row("input", 5, model="unheard-of"),
            )
        )
    )
    names = [line[0] for line in cells.rows]
    assert names[0] == "Usage"
    assert names[-1] == "Total USD"
    assert len(names) == 7
    assert any("unheard-of" in line[0] and line[2] == "no price" for line in cells.rows)
    assert any("plan pro, prices from 2026-11-15" in line[0] for line in cells.rows)
    assert any("graduated tiers per 1,000,000" in line for line in cells.rows)
    assert any("flex, above 272000" in line[0] for line in cells.rows)


def test_names_from_outside_can_not_become_markup() -> None:
    value = '"><script>alert(1)</script>'
    page = invoice_page(rendered(row("input", 5, model=value)))
    assert "script" not in read(page).elements
    assert "&lt;script&gt;" in page


def test_an_empty_period_says_so() -> None:
    page = invoice_page(rendered())
    assert "Nothing was used in this period." in page
    assert "Requests: none." in page
    assert "may still grow" in page


def test_a_final_invoice_has_its_number_and_day() -> None:
    page = invoice_page(
        rendered()
        | {"number": "WB-2026-000007", "status": "final", "issued_at": "2026-12-01T01:00:00Z"}
    )
    assert "Invoice WB-2026-000007" in page
    assert "2026-12-01 01:00:00 UTC" in page
    assert "may still grow" not in page


def test_days_are_the_customers() -> None:
    period = {
        "start": "2026-11-01T04:00:00Z", "end": "2026-12-01T05:00:00Z",
        "timezone": "America/New_York",
    }  # fmt: skip
    page = invoice_page(rendered() | {"period": period})
    assert "2026-11-01 to 2026-11-30, America/New_York" in page


@given(
    st.lists(st.tuples(st.sampled_from(["input", "output"]), st.integers(1, 3_000_000)), max_size=8)
)
def test_cents_add_up_on_the_page_and_in_the_file(used: list[tuple[str, int]]) -> None:
    sums = [row(kind, n, model="m", tier=f"t{i}") for i, (kind, n) in enumerate(used)]
    bill = rendered(*sums)
    cells = read(invoice_page(bill)).rows
    amounts = [Decimal(line[4].replace(",", "")) for line in cells[1:-1] if len(line) == 5]
    assert sum(amounts, Decimal(0)) == Decimal(cells[-1][2].replace(",", ""))
    last = [line.split(",") for line in render_csv(bill).splitlines()[1:]]
    column = [Decimal(line[13]) for line in last]
    assert sum(column[:-1], Decimal(0)) == column[-1]
