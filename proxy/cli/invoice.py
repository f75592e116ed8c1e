"""``weighbridge invoice``: what a subscription owes for a period, on the screen or in a file."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli.ledger_access import named_subscription, with_ledger
from proxy.cli.output import print_json, print_table, say
from proxy.clock import now
from proxy.errors import BadRequestError
from proxy.ledger.port import Ledger
from proxy.settings import Settings


class Form(StrEnum):
    """How an invoice is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def invoice(
    subscription: Annotated[str, typer.Argument(help="Its name, as in 'subscriptions list'.")],
    period: Annotated[
        str | None, typer.Option(help="A month such as 2026-10; the open period unless given.")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="How to write it.")] = Form.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write it into this file.")] = None,
) -> None:
    """Show a subscription's invoice: final if the period is closed, proposed until then."""
    settings = Settings.load()
    if output is not None and form is Form.TABLE:
        raise BadRequestError("A table is for the screen: add --format json, csv or html.")

    async def read(ledger: Ledger) -> dict[str, Any]:
        from proxy.billing.bills import invoice_json  # noqa: PLC0415 - --help needs none of it
        from proxy.billing.books import BookShelf  # noqa: PLC0415

        await named_subscription(ledger, subscription)
        shelf = BookShelf(ledger)
        book = (await shelf.in_force()).book
        return await invoice_json(shelf, book, subscription, now(), period)

    rendered = with_ledger(settings, read)
    if form is Form.TABLE:
        _print(rendered)
    elif output is None and form is Form.JSON:
        print_json(rendered)
    else:
        _write(_text(rendered, form), output)


def _text(rendered: dict[str, Any], form: Form) -> str:
    import json  # noqa: PLC0415 - most who ask for an invoice look at the table

    from proxy.billing.page import invoice_page  # noqa: PLC0415
    from proxy.core.invoices import render_csv  # noqa: PLC0415

    if form is Form.CSV:
        return render_csv(rendered)
    if form is Form.HTML:
        return invoice_page(rendered)
    return json.dumps(rendered, indent=2, ensure_ascii=False) + "\n"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        # Its line ends are part of CSV: they stay as they are.
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise BadRequestError(f"{output} can't be written: {error.strerror}.") from None
    say(f"{output} is written.")


def _print(rendered: dict[str, Any]) -> None:
    period, total = rendered["period"], rendered["total"]
    title = rendered["number"] or "proposed, the period is not closed"
    say(f"{rendered['subscription']}: {title}")
    say(f"{period['start']} to {period['end']}, {period['timezone']}, plan {rendered['plan']}")
    if rendered["lines"]:
        columns = ("model", "type", "quantity", "precise amount", "amount", "")
        rows = (_row(line) for line in rendered["lines"])
        print_table(columns, rows, right=frozenset(columns[2:5]))
    else:
        say("\nNothing was used.\n")
    precise = total["precise_amount"]
    say(f"total {rendered['currency']} {total['amount']}  (precisely {precise})")
    if rendered["completeness"]["unpriced"]:
        say("Unpriced usage is in no total: give its model a price in pricing.toml.")


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    what = line["type"] if line["metric"] == "tokens" else f"{line['metric']} {line['type']}"
    tier = line["service_tier"]
    quantity = line["quantity"]
    notes = [f"adjusts {line['adjusts']['number']}"] if "adjusts" in line else []
    notes += [line["note"]] if "note" in line else []
    notes += [f"plan {line['plan']}"] if "plan" in line else []
    return (
        line["model"] + (f" ({tier})" if tier not in {"", "default"} else ""),
        what.strip(),
        f"{quantity:,}" if isinstance(quantity, int) else quantity,
        line["precise_amount"] or "unpriced",
        line["amount"] or "",
        ", ".join(notes),
    )
