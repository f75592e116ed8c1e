"""``weighbridge usage``: what a subscription used in its open period, and owes for it."""

from typing import Annotated, Any

import typer

from proxy.cli.ledger_access import book_in_force, no_subscription, with_ledger
from proxy.cli.output import print_json, print_table, say
from proxy.clock import now
from proxy.ledger.port import Ledger
from proxy.settings import Settings

_UNPRICED = "unpriced"


def usage(
    subscription: Annotated[str, typer.Argument(help="Its name, as in 'subscriptions list'.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what the proxy answers.")] = False,
) -> None:
    """Show the current usage of a subscription, priced."""
    settings = Settings.load()

    async def read(ledger: Ledger) -> dict[str, Any] | None:
        from proxy.web.usage import current_usage_json  # noqa: PLC0415 - --help needs none of it

        book = (await book_in_force(ledger, settings)).book
        return await current_usage_json(ledger, book, subscription, now())

    report = with_ledger(settings, read)
    if report is None:
        raise no_subscription(subscription)
    if as_json:
        print_json(report)
    else:
        print_usage(report)


def print_usage(report: dict[str, Any]) -> None:
    """Print current usage, as ``GET /usage/current`` answers it, for people."""
    period, currency = report["period"], report["currency"]
    say(f"{report['subscription']} (customer {report['customer']}, plan {report['plan']})")
    say(f"{period['start']} to {period['end']}, {period['timezone']}")
    lines = report["lines"]
    if lines:
        columns = ("model", "type", "quantity", "price", f"amount ({currency})")
        print_table(columns, (_row(line) for line in lines), right=frozenset(columns[2:]))
    else:
        say("\nNothing was used yet.\n")
    total = report["total"]
    say(f"total {currency} {total['amount']}  (precisely {total['precise_amount']})")
    counts = report["completeness"]
    shown = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    say(f"requests: {shown or 'none'}")
    if counts.get(_UNPRICED):
        say("Unpriced usage is in no total: give its model a price in pricing.toml.")


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    what = line["type"] if line["metric"] == "tokens" else f"{line['metric']} {line['type']}"
    tier = line.get("service_tier")
    model = line["model"] + (f" ({tier})" if tier not in {None, "", "default"} else "")
    quantity = line["quantity"]
    shown = f"{quantity:,}" if isinstance(quantity, int) else quantity
    return (model, what, shown, _price(line), line["amount"] or _UNPRICED)


def _price(line: dict[str, Any]) -> str:
    if line["unit_price"] is None:
        return line.get("charge_model") or ""
    size = line["package_size"]
    return str(line["unit_price"]) + (f" per {size:,}" if size != 1 else "")
