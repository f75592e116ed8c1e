"""Invoices: a rated period in whole cents that add up.

The total is the precise sum rounded half up once; its cents go to the lines by largest remainder,
so that no cent is lost or made between the lines and the total.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.core.money import ZERO, apportion, decimal_text, minor_digits
from proxy.core.periods import utc_text
from proxy.core.rating.order import Line
from proxy.core.report import CurrentUsage, render_line, render_period

CSV_COLUMNS = (
    "metric", "model", "type", "service_tier", "context_class", "effective_from", "plan",
    "quantity", "priced_as", "charge_model", "unit_price", "package_size",
    "precise_amount", "amount", "currency",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """A line and its amount in whole cents (zero where it is unpriced)."""

    line: Line
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """What a customer owes for a period; ``number`` is None while it is only proposed."""

    number: str | None
    usage: CurrentUsage
    lines: tuple[InvoiceLine, ...]

    @property
    def total(self) -> Decimal:
        """The sum of the lines' cents, which is the rounded precise sum."""
        return self.usage.amount


def invoice(usage: CurrentUsage, number: str | None = None) -> Invoice:
    """Make an invoice of a rated period."""
    precise = [ZERO if line.amount is None else line.amount for line in usage.lines]
    cents = apportion(precise, usage.amount, minor_digits(usage.currency))
    lines = zip(usage.lines, cents, strict=True)
    return Invoice(
        number=number,
        usage=usage,
        lines=tuple(InvoiceLine(line=line, amount=amount) for line, amount in lines),
    )


def render_invoice(bill: Invoice) -> dict[str, Any]:
    """Return an invoice as a JSON object: lines as in current usage, and their cents."""
    usage, customer = bill.usage, bill.usage.subscription.customer
    digits = minor_digits(usage.currency)
    return {
        "number": bill.number,
        "status": "proposed" if bill.number is None else "final",
        "customer": {
            "external_id": customer.external_id,
            "name": customer.name,
            "email": customer.email,
        },
        "subscription": usage.subscription.external_id,
        "plan": usage.subscription.plan,
        "currency": usage.currency,
        "period": render_period(usage.period),
        "lines": [_render_invoice_line(bill, line) for line in bill.lines],
        "total": {
            "amount": decimal_text(bill.total, digits),
            "precise_amount": decimal_text(usage.precise, digits),
        },
        "unpriced_requests": usage.completeness.unpriced,
    }


def render_csv(bill: Invoice) -> str:
    """Return an invoice as CSV: a header, a row for each line, a row for the total.

    Text that a spreadsheet would take for a formula (a model's name comes from outside) gets an
    apostrophe in front.
    """
    out = io.StringIO()
    rows = csv.DictWriter(out, CSV_COLUMNS, restval="", extrasaction="ignore")
    rows.writeheader()
    for line in bill.lines:
        row = _render_invoice_line(bill, line)
        rows.writerow({key: _plain(value) for key, value in row.items()})
    rows.writerow(_total_row(bill))
    return out.getvalue()


def _render_invoice_line(bill: Invoice, line: InvoiceLine) -> dict[str, Any]:
    rendered = render_line(line.line, bill.usage.subscription.plan)
    unpriced = line.line.amount is None
    digits = minor_digits(bill.usage.currency)
    return rendered | {
        "precise_amount": rendered["amount"],
        "amount": None if unpriced else decimal_text(line.amount, digits),
        "currency": bill.usage.currency,
    }


def _total_row(bill: Invoice) -> Mapping[str, str]:
    usage, digits = bill.usage, minor_digits(bill.usage.currency)
    start, end = utc_text(usage.period.start), utc_text(usage.period.end)
    return {
        "metric": "total",
        "type": f"{start}/{end}",
        "precise_amount": decimal_text(usage.precise, digits),
        "amount": decimal_text(bill.total, digits),
        "currency": usage.currency,
    }


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in {*"=+-@\t\r"} else value
