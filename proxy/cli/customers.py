"""``weighbridge customers``: who is billed."""

from typing import Annotated

import typer

from proxy.cli.ledger_access import with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.core.subscriptions import Customer
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Customers: who is billed.", no_args_is_help=True)


@group.command("create")
def create(
    customer: Annotated[str, typer.Argument(help="Your own name or number for the customer.")],
    name: Annotated[str | None, typer.Option(help="Name on invoices.")] = None,
    email: Annotated[str | None, typer.Option(help="Address for invoices.")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217, such as USD.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="IANA name; billing periods begin at its midnight.")
    ] = None,
) -> None:
    """Make a customer."""

    async def make(ledger: Ledger) -> Customer:
        return await ledger.make_customer(
            customer, name=name, email=email, currency=currency, timezone=timezone
        )

    made = with_ledger(Settings.load(), make)
    say(f"Customer {made.external_id}: {made.currency}, {made.timezone}.")
    say(f"Make a key:  weighbridge keys create --customer {made.external_id}")


@group.command("list")
def list_customers(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all customers."""

    async def read(ledger: Ledger) -> list[Customer]:
        return list(await ledger.customers())

    found = with_ledger(Settings.load(), read)
    if as_json:
        print_json([dict(zip(_COLUMNS, _row(one), strict=True)) for one in found])
    elif not found:
        say("There is no customer yet. Make one:  weighbridge keys create --customer acme")
    else:
        print_table(_COLUMNS, (_row(one) for one in found))


_COLUMNS = ("customer", "name", "email", "currency", "timezone", "created")


def _row(one: Customer) -> tuple[str, ...]:
    return (
        one.external_id,
        one.name or "",
        one.email or "",
        one.currency,
        one.timezone,
        moment(one.created_at),
    )
