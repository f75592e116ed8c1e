"""``weighbridge customers``: who is billed."""

from typing import Annotated

import typer

from proxy.cli.ledger_access import with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.core.subscriptions import Customer
from proxy.errors import BadRequestError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Customers: who is billed.", no_args_is_help=True)


Name = Annotated[str | None, typer.Option(help="Name on invoices.")]
Email = Annotated[str | None, typer.Option(help="Address for invoices.")]
Currency = Annotated[str | None, typer.Option(help="ISO 4217, such as USD.")]
Timezone = Annotated[
    str | None, typer.Option(help="IANA name; billing periods begin at its midnight.")
]


@group.command("create")
def create(
    customer: Annotated[str, typer.Argument(help="Your own name or number for the customer.")],
    name: Name = None,
    email: Email = None,
    currency: Currency = None,
    timezone: Timezone = None,
) -> None:
    """Make a customer; one that is there already is not changed."""

    async def make(ledger: Ledger) -> Customer:
        return await ledger.make_customer(
            customer, name=name, email=email, currency=currency, timezone=timezone
        )

    _tell(with_ledger(Settings.load(), make))
    say(f"Make a key:  weighbridge keys create --customer {customer}")


@group.command("change")
def change(
    customer: Annotated[str, typer.Argument(help="Its name, as in 'customers list'.")],
    name: Name = None,
    email: Email = None,
    currency: Currency = None,
    timezone: Timezone = None,
) -> None:
    """Change what is given; the timezone only until a period of the customer is closed."""
    given = {"name": name, "email": email, "currency": currency, "timezone": timezone}
    if all(value is None for value in given.values()):
        options = ", ".join(f"--{option}" for option in given)
        raise BadRequestError(f"Nothing is to be changed: give one or more of {options}.")

    async def act(ledger: Ledger) -> Customer:
        return await ledger.change_customer(customer, **given)

    _tell(with_ledger(Settings.load(), act))


def _tell(customer: Customer) -> None:
    known = [part for part in (customer.name, customer.email) if part]
    shown = ", ".join([*known, customer.currency, customer.timezone])
    say(f"Customer {customer.external_id}: {shown}.")


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
