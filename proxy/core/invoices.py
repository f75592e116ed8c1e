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

from proxy.core.adjustments import Adjustment
from proxy.core.money import ZERO, apportion, decimal_text, minor_digits
from proxy.core.rating.order import Line
from proxy.core.report import (
    CurrentUsage,
    all_lines,
    render_completeness,
    render_line,
    render_period,
)

CSV_COLUMNS = (
    "metric", "model", "type", "service_tier", "context_class", "effective_from", "plan",
    "quantity", "priced_as", "charge_model", "unit_price", "package_size",
    "precise_amount", "amount", "currency", "adjusts", "note",
)  # fmt: skip
_FIGURES = frozenset({"quantity", "unit_price", "package_size", "precise_amount", "amount"})
_FORMULAS = frozenset("=+-@\t\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceLine:
    """A line and its amount in whole cents (zero where it is unpriced).

    ``adjusts`` is the closed period that the line belongs to, if it is not the invoice's own.
    """

    line: Line
    amount: Decimal
    adjusts: Adjustment | None = None


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
    lines = tuple(all_lines(usage))
    precise = [ZERO if line.amount is None else line.amount for line, _ in lines]
    cents = apportion(precise, usage.amount, minor_digits(usage.currency))
    return Invoice(
        number=number,
        usage=usage,
        lines=tuple(
            InvoiceLine(line=line, amount=amount, adjusts=adjusts)
            for (line, adjusts), amount in zip(lines, cents, strict=True)
        ),
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
        "completeness": render_completeness(usage.completeness),
    }


def render_csv(rendered: Mapping[str, Any]) -> str:
    """Return a rendered invoice as CSV: a header, a row for each line, a row for the total.

    Text that a spreadsheet would take for a formula (a model's name comes from outside) gets an
    apostrophe in front.
    """
    out = io.StringIO()
    rows = csv.DictWriter(out, CSV_COLUMNS, restval="", extrasaction="ignore")
    rows.writeheader()
    for line in rendered["lines"]:
        adjusts = line.get("adjusts") or {}
        row = line | {"adjusts": adjusts.get("number", "")}
        rows.writerow({key: _plain(key, value) for key, value in row.items()})
    period, total = rendered["period"], rendered["total"]
    rows.writerow(
        {
            "metric": "total",
            "type": f"{period['start']}/{period['end']}",
            "precise_amount": total["precise_amount"],
            "amount": total["amount"],
            "currency": rendered["currency"],
        }
    )
    return out.getvalue()


def _render_invoice_line(bill: Invoice, line: InvoiceLine) -> dict[str, Any]:
    rendered = render_line(line.line, bill.usage.subscription.plan, line.adjusts)
    unpriced = line.line.amount is None
    digits = minor_digits(bill.usage.currency)
    return rendered | {
        "precise_amount": rendered["amount"],
        "amount": None if unpriced else decimal_text(line.amount, digits),
        "currency": bill.usage.currency,
    }


def _plain(column: str, value: object) -> object:
    if column in _FIGURES or not isinstance(value, str) or value[:1] not in _FORMULAS:
        return value
    return f"'{value}"
