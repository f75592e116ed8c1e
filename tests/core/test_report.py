import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.core.adjustments import Adjustment, adjusted_lines
from proxy.core.book import PriceBook
from proxy.core.invoices import invoice, render_csv, render_invoice
from proxy.core.periods import Period, period_of
from proxy.core.rating import rate, windows
from proxy.core.report import CurrentUsage, count_unpriced, current_usage, render
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Customer, Subscription
from proxy.core.usage import Metric
from proxy.pricing import parse
from tests.core.rows import END, START, row

PERIOD = Period(start=START, end=END, timezone="UTC")
ACME = Subscription(
    id=1,
    external_id="acme",
    customer=Customer(
        id=1,
        external_id="acme",
        name=None,
        email=None,
        currency="USD",
        timezone="UTC",
        created_at=START,
    ),
    plan="default",
    started_at=START,
)
BOOK = parse("""
[models."gpt-4o"]
match = ["gpt-4o-2024-*"]
input = 2.50
cached_input = 1.25
output = { mode = "graduated", tiers = [{ up_to = 10, price = 10 }, { price = 8 }] }
long_context = { above = 1_000, cached_input = 2 }
[[models."gpt-4o".versions]]
effective_from = 2026-11-16
cached_input = 1.00
[models.whisper]
audio_seconds = { price = 0.006, per = "minute", free_units = 30 }
requests = 0.001
[plans.pro]
markup = 2
""")


def usage(*sums: SeriesSum, book: PriceBook = BOOK) -> CurrentUsage:
    return current_usage(
        book, subscription=ACME, period=PERIOD, bounds=windows(book, PERIOD), sums=sums
    )


def request(model: str, state: str, count: int = 1, **dimensions: str) -> SeriesSum:
    return row(state, count, model=model, metric=Metric.REQUESTS, source=state, **dimensions)  # type: ignore[arg-type]


def test_current_usage_as_documented() -> None:
    model = "gpt-4o-2024-08-06"
    sums = [row("cached_input", 1024, model=model), request(model, "exact")]
    assert render(usage(*sums)) == {
        "customer": "acme",
        "subscription": "acme",
        "plan": "default",
        "currency": "USD",
        "period": {
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "timezone": "UTC",
        },
        "lines": [
            {
                "metric": "tokens",
                "model": "gpt-4o-2024-08-06",
                "type": "cached_input",
                "quantity": 1024,
                "priced_as": "gpt-4o",
                "charge_model": "standard",
                "unit_price": "1.25",
                "package_size": 1_000_000,
                "service_tier": "default",
                "amount": "0.00128",
            }
        ],
        "total": {"amount": "0.00", "precise_amount": "0.00128"},
        "completeness": {
            "exact": 1,
            "estimated": 0,
            "partial": 0,
            "abandoned": 0,
            "failed": 0,
            "open": 0,
            "deferred": 0,
            "unpriced": 0,
        },
        "budget": None,
    }


def test_a_line_for_each_model_type_tier_version_and_class_sources_merged() -> None:
    dated, plain = "gpt-4o-2024-08-06", "gpt-4o"
    rendered = render(
        usage(
            row("input", 1, model=plain),
            row("input", 2, model=plain, source="estimated"),
            row("input", 4, model=dated),
            row("cached_input", 1, model=plain, window=0),
            row("cached_input", 1, model=plain, window=1),
            row("cached_input", 1, model=plain, tier="flex"),
            row("cached_input", 1, model=plain, context_class="above_1000"),
            row("input", 1, model=plain, plan="pro"),
        )
    )
    keys = ("model", "type", "service_tier", "context_class", "effective_from", "plan")
    told = [(*(line.get(k) for k in keys), line["quantity"], line["unit_price"])
            for line in rendered["lines"]]  # fmt: skip
    start = "2026-11-16T00:00:00Z"
    assert told == [
        (plain, "cached_input", "default", None, None, None, 1, "1.25"),
        (plain, "cached_input", "default", None, start, None, 1, "1.00"),
        (plain, "cached_input", "default", "above_1000", None, None, 1, "2.00"),
        (plain, "cached_input", "flex", None, None, None, 1, "1.25"),
        (plain, "input", "default", None, None, None, 3, "2.50"),
        (plain, "input", "default", None, None, "pro", 1, "5.00"),
        (dated, "input", "default", None, None, None, 4, "2.50"),
    ]


def test_tiers_and_seconds() -> None:
    rendered = render(
        usage(
            row("output", 30, model="gpt-4o"),
            row("", 90_500_000, model="whisper", metric=Metric.AUDIO_SECONDS),
            request("whisper", "exact", 3),
        )
    )
    tokens, seconds, requests = rendered["lines"]
    assert (tokens["charge_model"], tokens["unit_price"], tokens["amount"]) == (
        "graduated",
        None,
        "0.00026",
    )
    assert tokens["tiers"] == [{"up_to": 10, "price": "10.00"}, {"up_to": None, "price": "8.00"}]
    assert (seconds["quantity"], seconds["package_size"], seconds["free_units"]) == (
        "90.5",
        60,
        "30",
    )
    assert seconds["amount"] == "0.00605"
    assert (requests["type"], requests["quantity"], requests["amount"]) == ("", 3, "0.003")
    assert rendered["total"] == {"amount": "0.01", "precise_amount": "0.00931"}


def test_unpriced_lines_have_nulls_and_requests_are_counted() -> None:
    report = current_usage(
        BOOK,
        subscription=ACME,
        period=PERIOD,
        bounds=windows(BOOK, PERIOD),
        sums=[
            row("input", 7, model="new"),
            row("input", 7, model="", requested="newer"),
            request("new", "exact", 2),
            request("new", "estimated", 3),
            request("new", "failed", 4),
            request("", "partial", 5, requested="newer"),
            request("gpt-4o", "abandoned", 6),
            request("gpt-4o", "deferred", 6),
        ],
        open_requests=8,
        deferred_requests=9,
    )
    rendered = render(report, {"spent": "1.00"})
    unpriced = ("priced_as", "charge_model", "unit_price", "package_size", "amount")
    assert [[line[k] for k in unpriced] for line in rendered["lines"]] == [[None] * 5] * 2
    assert rendered["completeness"] == {
        "exact": 2,
        "estimated": 3,
        "partial": 5,
        "abandoned": 6,
        "failed": 4,
        "open": 8,
        "deferred": 9,
        "unpriced": 10,
    }
    assert rendered["total"]["amount"] == "0.00"
    assert rendered["budget"] == {"spent": "1.00"}


@pytest.mark.parametrize(
    ("sums", "count"),
    [
        # An answer of gpt-4o whose transcription, tool or advisor is a model of its own.
        ([row("input", 7, model="gpt-4o"), row("input", 7, model="whisper"),
          request("gpt-4o", "exact", 5)], 1),
        # A batch: lines of several models and classes, one request.
        ([row("input", 7, model="a"), row("output", 7, model="a"),
          row("input", 7, model="a", context_class="above_9"), row("input", 7, model="b"),
          request("gpt-4o", "exact", 1)], 3),
        # A model that requests of its own use, too.
        ([row("input", 7, model="a"), request("a", "exact", 4)], 4),
        # An error's usage.
        ([row("input", 7, model="a"), request("a", "failed", 4)], 1),
        ([row("input", 7, model="gpt-4o"), request("gpt-4o", "exact", 5),
          request("a", "exact", 4)], 0),
    ],
)  # fmt: skip
def test_what_is_unpriced_is_never_none(sums: list[SeriesSum], count: int) -> None:
    lines = rate(BOOK, sums, windows(BOOK, PERIOD))
    assert count_unpriced(lines, sums) == count
    assert bool(count) == any(line.amount is None for line in lines)


def test_unpriced_adjustments_are_counted() -> None:
    late = (row("input", 7, model="new"), request("new", "exact", 3))
    adjustment = Adjustment(
        number="WB-2026-000001",
        period=PERIOD,
        lines=adjusted_lines(BOOK, windows(BOOK, PERIOD), (), late),
        late=late,
    )
    report = current_usage(
        BOOK,
        subscription=ACME,
        period=PERIOD,
        bounds=windows(BOOK, PERIOD),
        sums=[row("input", 7, model="newer"), request("newer", "exact", 2)],
        adjustments=(adjustment, replace(adjustment, late=())),
    )
    assert report.completeness.unpriced == 2 + 3 + 1


def test_empty_period_in_new_york_and_yen() -> None:
    book = parse('currency = "JPY"')
    period = period_of(datetime(2026, 11, 21, tzinfo=UTC), "America/New_York")
    report = current_usage(
        book, subscription=ACME, period=period, bounds=windows(book, period), sums=[]
    )
    rendered = render(report)
    assert rendered["period"]["end"] == "2026-12-01T05:00:00Z"
    assert rendered["total"] == {"amount": "0", "precise_amount": "0"}


def test_invoice_cents_add_up() -> None:
    # Three lines of 0.005 and less: 0.0125 is one cent, which goes to the largest remainder.
    report = usage(
        row("input", 1_600, model="gpt-4o"),  # 0.004
        row("cached_input", 2_800, model="gpt-4o"),  # 0.0035
        row("input", 2_000, model="gpt-4o-2024-08-06"),  # 0.005
        row("input", 5, model="new"),
    )
    bill = invoice(report)
    assert [line.amount for line in bill.lines] == [0, 0, Decimal("0.01"), 0]
    assert bill.total == sum(line.amount for line in bill.lines) == Decimal("0.01")
    rendered = render_invoice(bill)
    assert (rendered["status"], rendered["number"]) == ("proposed", None)
    assert rendered["total"] == {"amount": "0.01", "precise_amount": "0.0125"}
    assert [line["amount"] for line in rendered["lines"]] == ["0.00", "0.00", "0.01", None]
    assert [line["precise_amount"] for line in rendered["lines"]] == [
        "0.0035",
        "0.004",
        "0.005",
        None,
    ]


def test_a_closed_invoice_has_a_number() -> None:
    rendered = render_invoice(invoice(usage(), number="2026-11-0001"))
    assert (rendered["status"], rendered["number"]) == ("final", "2026-11-0001")


def test_csv_has_a_total_and_no_formulas() -> None:
    bill = invoice(usage(row("input", 1_000_000, model="gpt-4o"), row("input", 1, model="=1+1")))
    rows = list(csv.DictReader(io.StringIO(render_csv(render_invoice(bill)))))
    assert [r["model"] for r in rows] == ["'=1+1", "gpt-4o", ""]
    assert [r["amount"] for r in rows] == ["", "2.50", "2.50"]
    assert rows[-1]["type"] == "2026-11-01T00:00:00Z/2026-12-01T00:00:00Z"


def test_amount_rounds_the_precise_sum_once() -> None:
    report = usage(row("input", 2_000, model="gpt-4o"), row("cached_input", 4_000, model="gpt-4o"))
    assert report.precise == Decimal("0.01")
    assert replace(report, precise=Decimal("0.005")).amount == Decimal("0.01")
