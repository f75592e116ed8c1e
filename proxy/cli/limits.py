"""``weighbridge limits``: budgets and rate limits of subscriptions and keys, over their plans'."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from proxy.cli.keys import SECRET_PREFIX
from proxy.cli.ledger_access import named_subscription, with_ledger
from proxy.cli.output import print_json, print_table, say
from proxy.clock import now_us
from proxy.core.budgets import LimitStanding, render_standing
from proxy.core.money import decimal_text
from proxy.core.plans import Limits
from proxy.core.subscriptions import KEY_PREFIX_LENGTH
from proxy.errors import BadRequestError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

UNLIMITED = "none"
MOST = Decimal(1_000_000_000)

group = typer.Typer(
    help="Limits of spend and rate; what is not set here is as the plan says.",
    no_args_is_help=True,
)
Subscription = Annotated[
    str | None, typer.Argument(help="Its name, as in 'subscriptions list'.", show_default=False)
]
Key = Annotated[str | None, typer.Option(help="A key instead, by its prefix or id.")]
Amount = Annotated[str | None, typer.Option(help="An amount of money, or none.")]
Count = Annotated[str | None, typer.Option(help="A whole number, or none.")]


@group.command("set")
def set_limits(  # noqa: PLR0917 - an option each
    subscription: Subscription = None,
    key: Key = None,
    spend_per_period: Amount = None,
    spend_per_day: Amount = None,
    spend_total: Amount = None,
    requests_per_minute: Count = None,
    tokens_per_minute: Count = None,
    concurrent: Count = None,
    soft: Annotated[
        list[str] | None, typer.Option(help="Warn at this part of each budget, such as 0.8.")
    ] = None,
) -> None:
    """Set limits, within a second for every worker; "none" lifts one that the plan sets."""
    values: dict[str, Any] = {
        name: _amount(name, text)
        for name, text in (
            ("spend_per_period", spend_per_period),
            ("spend_per_day", spend_per_day),
            ("spend_total", spend_total),
        )
        if text is not None
    }
    values |= {
        name: _count(name, text)
        for name, text in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
            ("concurrent_requests", concurrent),
        )
        if text is not None
    }
    if soft:
        values["soft_thresholds"] = sorted(_part(text) for text in soft)
    whom = _whom(subscription, key)

    async def change(ledger: Ledger) -> None:
        await ledger.set_limits(values, **whom)

    with_ledger(Settings.load(), change)
    say(f"Limits of {_name(whom)} are set: {', '.join(_text(*item) for item in values.items())}.")


@group.command("clear")
def clear(subscription: Subscription = None, key: Key = None) -> None:
    """Forget what was set: the plan's limits hold."""
    whom = _whom(subscription, key)

    async def change(ledger: Ledger) -> bool:
        return await ledger.clear_limits(**whom)

    if with_ledger(Settings.load(), change):
        say(f"Limits of {_name(whom)} are as its plan says.")
    else:
        say(f"Nothing was set for {_name(whom)}: its limits are as its plan says.")


@group.command("show")
def show(
    subscription: Subscription = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show limits and where they stand: of one subscription, or of all that have any set."""

    async def read(ledger: Ledger) -> list[LimitStanding]:
        names: Sequence[str] = await ledger.limited() if subscription is None else [subscription]
        if subscription is not None:
            await named_subscription(ledger, subscription)
        return [standing for name in names for standing in await ledger.limits(name)]

    standings = with_ledger(Settings.load(), read)
    at_us = now_us()
    if as_json:
        print_json(
            [
                {"subscription": one.subscription, "plan": one.plan} | render_standing(one, at_us)
                for one in standings
            ]
        )
    elif not standings:
        say("Nothing is limited. Set one:  weighbridge limits set acme --spend-per-period 100")
    else:
        columns = ("subscription", "key", "limit", "of", "spent or used", "reserved", "resets")
        rows = [row for one in standings for row in _rows(one, at_us)]
        print_table(columns, rows, right=frozenset({"of", "spent or used", "reserved"}))


def _rows(standing: LimitStanding, at_us: int) -> list[tuple[str, ...]]:
    shown = render_standing(standing, at_us)
    who = standing.subscription, standing.prefix or ""
    rows: list[tuple[str, ...]] = [
        (*who, f"spend, {window}", spend["limit"], spend["spent"], spend["reserved"],
         spend["resets_at"] or "never")
        for window, spend in shown.get("spend", {}).items()
    ]  # fmt: skip
    for name in ("requests_per_minute", "tokens_per_minute"):
        if rate := shown.get(name):
            used = str(rate["limit"] - rate["remaining"])
            rows.append((*who, name.replace("_", " "), str(rate["limit"]), used, "", ""))
    if running := shown.get("concurrent_requests"):
        limit, used = str(running["limit"]), str(running["running"])
        rows.append((*who, "concurrent requests", limit, used, "", ""))
    return rows


def _whom(subscription: str | None, key: str | None) -> dict[str, str | None]:
    if (subscription is None) == (key is None):
        raise BadRequestError("Name a subscription, or a key with --key: one of the two.")
    if key is not None and key.startswith(SECRET_PREFIX):
        key = key[:KEY_PREFIX_LENGTH]
    return {"subscription": subscription, "key": key}


def _name(whom: Mapping[str, str | None]) -> str:
    return f"subscription {whom['subscription']}" if whom["subscription"] else f"key {whom['key']}…"


def _amount(name: str, text: str) -> Decimal | None:
    if text == UNLIMITED:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= MOST):
        raise BadRequestError(f"{_option(name)} is an amount such as 100 or 0.50, not {text!r}.")
    return amount


def _count(name: str, text: str) -> int | None:
    if text == UNLIMITED:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST):
        raise BadRequestError(f"{_option(name)} is a whole number above 0, not {text!r}.")
    return int(text)


def _part(text: str) -> Decimal:
    try:
        part = Decimal(text)
    except InvalidOperation:
        part = Decimal(0)
    if not (part.is_finite() and 0 < part <= 1):
        raise BadRequestError(f"--soft is a part of the budget such as 0.8, not {text!r}.")
    return part


def _option(name: str) -> str:
    known = {field.name for field in fields(Limits)}
    return "--" + name.removesuffix("_requests").replace("_", "-") if name in known else name


def _text(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(value, list):
        return f"{words} {', '.join(map(decimal_text, value))}"
    return f"{words} {UNLIMITED if value is None else value}"
