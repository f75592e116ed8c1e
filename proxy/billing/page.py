"""An invoice as a page to read and print: no script, nothing from elsewhere, all escaped."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from html import escape
from typing import Any

from proxy.core.periods import zone

_STYLE = """
@page { size: A4; margin: 18mm 16mm; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1d21; background: #f2f3f5; margin: 0; }
main { background: #fff; max-width: 60rem; margin: 2rem auto; padding: 2.5rem 3rem; }
header { display: flex; justify-content: space-between; gap: 2rem; align-items: flex-start; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -.01em; }
.status { border: 1px solid #b8860b; color: #7a5900; border-radius: 3px; padding: .1rem .5rem;
  font-size: .8rem; text-transform: uppercase; letter-spacing: .06em; display: inline-block; }
.status.final { border-color: #2c6e49; color: #2c6e49; }
dl { display: grid; grid-template-columns: max-content auto; gap: .15rem 1rem; margin: 1.5rem 0; }
dt { color: #666c74; } dd { margin: 0; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th { text-align: left; font-weight: 600; color: #666c74; font-size: .8rem; }
th, td { padding: .4rem .5rem; border-bottom: 1px solid #e3e5e8; vertical-align: top; }
td small { color: #666c74; display: block; overflow-wrap: anywhere; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead { display: table-header-group; } tr { break-inside: avoid; }
tfoot td { border-bottom: 0; border-top: 2px solid #1a1d21; font-weight: 700; font-size: 1.05rem; }
.unpriced { color: #9b2c2c; }
footer { color: #666c74; font-size: .8rem; margin-top: 2rem; }
@media print { body { background: #fff; font-size: 11px; } main { margin: 0; padding: 0;
  max-width: none; } }
"""
_MOMENT = timedelta(microseconds=1)
_HEADINGS = ("Usage", "Quantity", "Price", "Precise amount", "Amount")


def invoice_page(invoice: Mapping[str, Any]) -> str:
    """Return the HTML page of a rendered invoice."""
    final = invoice["status"] == "final"
    title = f"Invoice {invoice['number']}" if final else "Proposed invoice"
    rows = "".join(_row(line) for line in invoice["lines"])
    if not rows:
        rows = '<tr><td colspan="5">Nothing was used in this period.</td></tr>'
    headings = f'<th scope="col">{_HEADINGS[0]}</th>' + "".join(
        f'<th class="figure" scope="col">{text}</th>' for text in _HEADINGS[1:]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{_text(title)}</h1>"
        f'<span class="status {"final" if final else "proposed"}">{_text(invoice["status"])}</span>'
        f"</header>{_facts(invoice)}<table><thead><tr>{headings}</tr></thead>"
        f"<tbody>{rows}</tbody><tfoot>{_total(invoice)}</tfoot></table>{_footer(invoice)}"
        "</main></body></html>\n"
    )


def _facts(invoice: Mapping[str, Any]) -> str:
    customer, period = invoice["customer"], invoice["period"]
    facts = {
        "Customer": customer["name"] or customer["external_id"],
        "E-mail": customer["email"],
        "Subscription": invoice["subscription"],
        "Plan": invoice["plan"],
        "Period": f"{_day(period['start'], period)} to {_day(period['end'], period, _MOMENT)}, "
        f"{period['timezone']}",
        "Issued": _moment(invoice["issued_at"]) if invoice.get("issued_at") else None,
    }
    shown = "".join(f"<dt>{name}</dt><dd>{_text(v)}</dd>" for name, v in facts.items() if v)
    return f"<dl>{shown}</dl>"


def _row(line: Mapping[str, Any]) -> str:
    what = line["type"] if line["metric"] == "tokens" else f"{line['metric']} {line['type']}"
    details = [
        what.replace("_", " ").strip(),
        "" if line["service_tier"] in {"", "default"} else line["service_tier"],
        line.get("context_class", "").replace("_", " "),
        f"plan {line['plan']}" if "plan" in line else "",
        f"prices from {_moment(line['effective_from'])}" if "effective_from" in line else "",
        f"adjusts {line['adjusts']['number']}" if "adjusts" in line else "",
        line.get("note", ""),
    ]
    model = line["model"] or "any model"
    cells = (line["quantity"], _price(line), line["precise_amount"], line["amount"])
    if line["amount"] is None:
        shown = f'{_figure(cells[0])}<td class="figure unpriced" colspan="3">no price</td>'
    else:
        shown = "".join(_figure(cell) for cell in cells)
    small = _text(", ".join(detail for detail in details if detail))
    return f"<tr><td>{_text(model)}<small>{small}</small></td>{shown}</tr>"


def _price(line: Mapping[str, Any]) -> str:
    size = line["package_size"]
    per = f" per {size:,}" if size not in {None, 1} else ""
    if line.get("tiers"):
        return f"{line['charge_model']} tiers{per}"
    free = f", {line['free_units']:,} free" if isinstance(line.get("free_units"), int) else ""
    return f"{line['unit_price']}{per}{free}"


def _figure(value: object) -> str:
    shown = f"{value:,}" if isinstance(value, int) else str(value)
    return f'<td class="figure">{_text(shown)}</td>'


def _total(invoice: Mapping[str, Any]) -> str:
    total = invoice["total"]
    return (
        f'<tr><td colspan="3">Total {_text(invoice["currency"])}</td>'
        f"{_figure(total['precise_amount'])}{_figure(total['amount'])}</tr>"
    )


def _footer(invoice: Mapping[str, Any]) -> str:
    counts = invoice["completeness"]
    rests = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    notes = [f"Requests: {rests or 'none'}."]
    if counts["unpriced"]:
        notes.append("Usage without a price is in no amount.")
    if invoice["status"] != "final":
        notes.append("The period is not closed: figures may still grow.")
    return f"<footer>{_text(' '.join(notes))}</footer>"


def _moment(text: str) -> str:
    return text.removesuffix("T00:00:00Z").replace("T", " ").replace("Z", " UTC")


def _day(text: str, period: Mapping[str, Any], before: timedelta = timedelta()) -> str:
    """Return the day on which a moment, less ``before``, falls where the customer is."""
    moment = datetime.fromisoformat(text) - before
    return moment.astimezone(zone(period["timezone"])).date().isoformat()


def _text(value: object) -> str:
    return escape(str(value))
