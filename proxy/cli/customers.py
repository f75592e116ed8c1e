"""``weighbridge customers``: who is billed."""

from typing import Annotated

import typer

from proxy.cli.ledger_access import book_in_force, with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.core.subscriptions import Customer
from proxy.errors import BadRequestError, ProxyError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Customers: who is billed.", no_args_is_help=True)


Name = Annotated[str | None, typer.Option(help="Name on invoices.")]
Email = Annotated[str | None, typer.Option(help="Address for invoices.")]
Currency = Annotated[
    str | None, typer.Option(help="That of pricing.toml: everyone is billed in it.")
]
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
    settings = Settings.load()

    async def make(ledger: Ledger) -> Customer:
        return await make_customer(
            ledger,
            settings,
            customer,
            name=name,
            email=email,
            currency=currency,
            timezone=timezone,
        )

    _tell(with_ledger(settings, make, makes=True))
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

    settings = Settings.load()

    async def act(ledger: Ledger) -> Customer:
        await _require_currency(ledger, settings, currency)
        return await ledger.change_customer(customer, **given)

    _tell(with_ledger(settings, act))


async def make_customer(
    ledger: Ledger, settings: Settings, external_id: str, **attributes: str | None
) -> Customer:
    """Make a customer, billed in the price book's currency, or return the one that is there.

    Raises:
        BadRequestError: Its currency is to be another one.
        ConflictError: It is there, and different.
    """
    known = await _require_currency(ledger, settings, attributes.get("currency"))
    if all(one.external_id != external_id for one in await ledger.customers()):
        attributes["currency"] = known
    return await ledger.make_customer(external_id, **attributes)


async def _require_currency(ledger: Ledger, settings: Settings, given: str | None) -> str | None:
    """Return the price book's currency, or what is given where no book can be read."""
    try:
        book, adopted = await book_in_force(ledger, settings)
    except ProxyError:
        return given
    if given not in {None, "", book.currency}:
        where = "The prices in force are" if adopted else f"{settings.pricing_file} is"
        raise BadRequestError(
            f"{where} in {book.currency}, and everyone is billed in it, so a customer's currency "
            f"can't be {given}: leave --currency out."
        )
    return given if given == "" else book.currency


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
