"""What late usage changes in a period that is billed already."""

import csv
import io
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from proxy.billing.page import invoice_page
from proxy.core.adjustments import Adjustment, adjusted_lines
from proxy.core.invoices import CSV_COLUMNS, invoice, render_csv, render_invoice
from proxy.core.money import total
from proxy.core.periods import Period
from proxy.core.rating import rate
from proxy.core.report import current_usage, render
from proxy.pricing import parse
from tests.core.rows import END, START, row
from tests.periods.test_spans import SUBSCRIPTION

BOUNDS = [START, END]
OCTOBER = Period(start=START, end=END, timezone="UTC")
STANDARD = parse("[models.m]\ninput = 2.50\noutput = 10.00")
VOLUME = parse(
    '[models.m]\ninput = { mode = "volume", tiers = [{ up_to = 10, price = 9 }, { price = 1 }] }\n'
    "package_size = 1"
)


def test_only_what_changed_is_charged() -> None:
    billed = [row("input", 100), row("output", 7)]
    (line,) = adjusted_lines(STANDARD, BOUNDS, billed, [row("input", 1_000_000)])
    assert (line.type, line.quantity, line.amount) == ("input", 1_000_000, Decimal("2.5"))


def test_new_usage_is_a_line_of_its_own() -> None:
    (line,) = adjusted_lines(STANDARD, BOUNDS, [], [row("output", 100_000)])
    assert (line.quantity, line.amount) == (100_000, Decimal(1))


def test_late_usage_without_a_price_is_shown_without_amount() -> None:
    billed = [row("input", 3, model="new")]
    (line,) = adjusted_lines(STANDARD, BOUNDS, billed, [row("input", 4, model="new")])
    assert (line.quantity, line.amount) == (4, None)


def test_more_usage_may_cost_less_and_cents_still_add_up() -> None:
    lines = adjusted_lines(VOLUME, BOUNDS, [row("input", 10)], [row("input", 5)])
    adjustment = Adjustment(number="WB-2026-000001", period=OCTOBER, lines=lines)
    assert adjustment.precise == -75
    usage = current_usage(
        STANDARD,
        subscription=SUBSCRIPTION,
        period=OCTOBER,
        bounds=BOUNDS,
        sums=[row("input", 333_333), row("output", 1)],
        adjustments=(adjustment,),
    )
    assert usage.amount == Decimal("-74.17")
    bill = invoice(usage)
    assert sum(line.amount for line in bill.lines) == bill.total
    rendered = render_invoice(bill)
    (adjusting,) = [line for line in rendered["lines"] if "adjusts" in line]
    assert adjusting["adjusts"]["number"] == "WB-2026-000001"
    assert adjusting["amount"] == "-75.00"
    assert render(usage)["total"]["amount"] == "-74.17"
    last = render_csv(rendered).splitlines()
    assert last[0].split(",") == list(CSV_COLUMNS)
    assert last[-2].endswith("-75.00,-75.00,USD,WB-2026-000001,")


def test_what_late_usage_of_others_divides_anew_is_marked() -> None:
    shared = parse(
        '[models.m]\nmatch = ["m-*"]\npackage_size = 1\n'
        'input = { mode = "volume", tiers = [{ up_to = 10, price = 9 }, { price = 1 }] }\n'
    )
    billed = [row("input", 6, model="m-1"), row("input", 4, model="m-2")]
    lines = adjusted_lines(shared, BOUNDS, billed, [row("input", 5, model="m-2")])
    assert [(line.model, line.quantity, line.amount) for line in lines] == [
        ("m-1", 0, -48),
        ("m-2", 5, -27),
    ]
    usage = current_usage(
        shared,
        subscription=SUBSCRIPTION,
        period=OCTOBER,
        bounds=BOUNDS,
        sums=[row("input", 0), row("input", 90)],
        adjustments=(Adjustment(number="WB-2026-000001", period=OCTOBER, lines=lines),),
    )
    note = "divided anew by late usage"
    rendered = render_invoice(invoice(usage))
    for told in (render(usage), rendered):
        assert [line.get("note") for line in told["lines"]] == [None, note, None]
    rows = list(csv.DictReader(io.StringIO(render_csv(rendered))))
    assert [each["note"] for each in rows] == ["", note, "", ""]
    page = invoice_page(rendered)
    assert page.count(f"adjusts WB-2026-000001, {note}") == page.count(note) == 1


@given(
    billed=st.lists(st.integers(1, 30), max_size=4), late=st.lists(st.integers(1, 30), min_size=1)
)
def test_billed_and_adjusted_are_the_whole(billed: list[int], late: list[int]) -> None:
    known = [row("input", quantity) for quantity in billed]
    more = [row("input", quantity) for quantity in late]

    def cost(sums: list[object]) -> Decimal:
        lines = rate(VOLUME, sums, BOUNDS)  # type: ignore[arg-type]
        return total([line.amount for line in lines if line.amount is not None])

    changed = adjusted_lines(VOLUME, BOUNDS, known, more)
    adjusted = total([line.amount for line in changed if line.amount is not None])
    assert cost([*known]) + adjusted == cost([*known, *more])
