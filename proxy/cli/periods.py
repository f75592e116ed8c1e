"""``weighbridge periods``: close billing periods, and list the closed ones."""

from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from proxy.cli.ledger_access import named_subscription, with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.clock import now
from proxy.core.periods import utc_text
from proxy.errors import BadRequestError
from proxy.ledger.periods import ClosedPeriod
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Billing periods: close them, list them.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@group.command("close")
def close(
    subscription: Annotated[
        str | None, typer.Option(help="This one only; all unless given.")
    ] = None,
    through: Annotated[
        str | None, typer.Option(help="Only periods that end by this date, such as 2026-11-01.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Close every period that has ended, and the grace time with it; the proxy does it itself."""
    settings = Settings.load()
    latest = None if through is None else _day(through)

    async def act(ledger: Ledger) -> list[dict[str, Any]]:
        from proxy.billing.books import BookShelf  # noqa: PLC0415 - --help needs none of it
        from proxy.billing.closing import Closer  # noqa: PLC0415

        closer = Closer(BookShelf(ledger), settings.close_grace_s)
        return [
            {
                "subscription": outcome.subscription,
                "start": utc_text(outcome.period.start),
                "end": utc_text(outcome.period.end),
                "number": outcome.closed and outcome.closed.number,
                "currency": outcome.closed and outcome.closed.currency,
                "amount": outcome.closed and outcome.closed.amount,
                "reason": outcome.reason or None,
            }
            async for outcome in closer.close_due(now(), only=subscription, through=latest)
        ]

    outcomes = with_ledger(settings, act)
    if as_json:
        print_json(outcomes)
        return
    for each in outcomes:
        what = f"{each['subscription']}, {each['start']} to {each['end']}"
        if each["number"]:
            say(f"{what}: closed as {each['number']}, {each['currency']} {each['amount']}")
        else:
            say(f"{what}: left open, because {each['reason']}")
    if not outcomes:
        grace = f"{settings.close_grace_s:g} s"
        say(f"Nothing is to be closed: no used period ended more than {grace} ago.")


@group.command("list")
def list_periods(
    subscription: Annotated[
        str | None, typer.Option(help="Of this one only; of all unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List closed periods in the order of their numbers."""

    async def read(ledger: Ledger) -> list[ClosedPeriod]:
        if subscription is not None:
            await named_subscription(ledger, subscription)
        return list(await ledger.closed_periods(subscription))

    found = with_ledger(Settings.load(), read)
    if as_json:
        print_json([dict(zip(_COLUMNS, _row(one), strict=True)) for one in found])
    elif not found:
        say("No period is closed yet. Close those that are due:  weighbridge periods close")
    else:
        print_table(_COLUMNS, (_row(one) for one in found), right=frozenset({"amount"}))


_COLUMNS = ("number", "subscription", "start", "end", "currency", "amount", "prices", "closed")


def _row(one: ClosedPeriod) -> tuple[str, ...]:
    return (
        one.number,
        one.subscription,
        utc_text(one.period.start),
        utc_text(one.period.end),
        one.currency,
        one.amount,
        str(one.book_sequence),
        moment(one.closed_at),
    )


def _day(text: str) -> datetime:
    """Return the end of what ``--through`` allows: the moment, or the last one of a date (UTC)."""
    try:
        if len(text) == len("2026-11-01"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequestError(f"{text!r} is no date: write one such as 2026-11-01.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
