"""``weighbridge prices``: what is in force, what an edit would change, why an amount is so."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from proxy.cli.ledger_access import BookInForce, book_in_force, require_plan, with_ledger
from proxy.cli.output import print_json, print_table, say, warn
from proxy.clock import now
from proxy.core.book import EVERY_MODEL, PriceBook, Quote
from proxy.core.money import decimal_text
from proxy.core.periods import midnight, utc_text, zone
from proxy.core.plans import DEFAULT_PLAN
from proxy.core.prices import ModelPrices, PriceKey, Version
from proxy.core.units import grouped_units
from proxy.core.usage import Metric
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

group = typer.Typer(help="Prices: in force, edited, explained.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@group.command("diff")
def show_diff(
    file: Annotated[
        Path | None, typer.Argument(help="A pricing file; the proxy's own unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare a pricing file with what is in force: what would it change?"""
    from proxy.billing.repricing import changes_between  # noqa: PLC0415 - --help needs no prices
    from proxy.pricing import (  # noqa: PLC0415
        hidden_prices,
        parse,
        parse_adopted,
        refuse_change,
    )
    from proxy.pricing.watch import read_text  # noqa: PLC0415

    settings = Settings.load()
    file = file or settings.pricing_file
    text = read_text(file)
    book = parse(text, str(file))

    async def compare(ledger: Ledger) -> tuple[int, list[str], str | None] | None:
        adopted = await ledger.book()
        if adopted is None:
            return None
        old = parse_adopted(adopted.text, adopted.reading)
        refused = refuse_change(old, book, await ledger.used_plans(), text, str(file))
        return adopted.sequence, await changes_between(ledger, old, book), refused

    compared = with_ledger(settings, compare) if settings.database_path.is_file() else None
    if compared is None:
        path = settings.database_path
        none = "No prices are in force yet"
        if not path.is_file():
            none = f"There is no ledger at {path.absolute()}, so no prices are in force yet"
        raise NotFoundError(
            f"{none}, and {file} is good: 'weighbridge serve' adopts the pricing file."
        )
    sequence, changes, refused = compared
    hidden = hidden_prices(book)
    if as_json:
        print_json({"in_force": sequence, "changes": changes, "hidden": hidden, "refused": refused})
    else:
        for change in changes:
            say(change)
        if not changes:
            say(f"{file} says what is in force (number {sequence}).")
        for line in hidden:
            warn(line)
        if refused is not None:
            warn(f"it would be refused: {refused}")


@group.command("show")
def show(
    model: Annotated[str, typer.Argument(help="A model's name, as clients or upstreams write it.")],
    at: Annotated[
        str | None, typer.Option(help="A date or a time, such as 2026-12-01; now unless given.")
    ] = None,
    plan: Annotated[str, typer.Option(help="For customers on this plan.")] = DEFAULT_PLAN,
    as_json: Json = False,
) -> None:
    """Show what a model costs by the prices in force."""
    settings = Settings.load()
    in_force = _prices(settings)
    book = in_force.book
    moment = now() if at is None else _moment(at, book.timezone)
    require_plan(in_force, settings, plan)
    found = book.match(model, None)
    if found is None:
        near = " or ".join(book.nearest(model))
        raise NotFoundError(
            f"{model} has no price in force." + (f" Did you mean {near}?" if near else "")
        )
    rows = list(_rows(book, found.model, plan, moment))
    if as_json:
        prices = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        print_json({"model": found.model.name, "matched_by": found.by, "prices": prices})
        return
    by = "" if found.by == "name" else f", by its {found.by} {found.pattern}"
    say(f"{found.model.name}{by}, on plan {plan}, at {utc_text(moment.replace(microsecond=0))}")
    if not book.allows(plan, model):
        say(f"Plan {plan} does not allow it: requests get 404 model_not_found.")
    if not rows:
        say("Its prices have not begun at that time.")
    else:
        print_table(_COLUMNS, rows, right=frozenset({"price", "per", "free"}))


@group.command("explain")
def explain(
    request: Annotated[str, typer.Argument(help="Its id: x-weighbridge-request-id, or the log.")],
    as_json: Json = False,
) -> None:
    """Tell why a request costs what it does, step by step."""

    async def read(ledger: Ledger) -> dict[str, Any]:
        from proxy.billing.books import BookShelf  # noqa: PLC0415 - --help needs none of it
        from proxy.billing.explaining import explain_request, render_explained  # noqa: PLC0415

        return render_explained(await explain_request(BookShelf(ledger), request))

    explained = with_ledger(Settings.load(), read)
    if as_json:
        print_json(explained)
        return
    say(f"{explained['request']} of {explained['subscription']}, at {explained['accepted_at']}")
    say(f"by price book {explained['prices']['sequence']}{_billed_with(explained)}")
    for part in explained["quantities"]:
        amount = part["amount"] or "nothing"
        quantity = part["quantity"]
        shown = f"{quantity:,}" if isinstance(quantity, int) else quantity
        what = f"{part['metric']} {part['type']}".rstrip()
        say(f"\n{shown} {what}: {amount}")
        for step in part["steps"]:
            say(f"  {step['rule']:<11} {step['result']}  ({step['because']})")
    say(f"\ntogether {explained['currency']} {explained['amount']}")


def _billed_with(explained: dict[str, Any]) -> str:
    invoice, adjusts = explained["invoice"], explained["adjusts"]
    if adjusts:
        charged = f"billed with {invoice}" if invoice else "to be billed with the next invoice"
        return f", {charged}: it came after {adjusts} was made, and adjusts it"
    return f", as billed with {invoice}" if invoice else ""


def _prices(settings: Settings) -> BookInForce:
    """Return the prices in force; where there is no ledger, none is made to look."""
    from proxy.app import load_book  # noqa: PLC0415 - --help needs no prices

    if not settings.database_path.is_file():
        return BookInForce(load_book(settings), adopted=False)

    async def read(ledger: Ledger) -> BookInForce:
        return await book_in_force(ledger, settings)

    return with_ledger(settings, read)


def _moment(text: str, timezone: str) -> datetime:
    """Read a date or a time; without an offset it is in the file's timezone, as in the file."""
    try:
        if len(text) == len("2026-12-01"):
            return midnight(date.fromisoformat(text), timezone)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone(timezone))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequestError(
            f"{text!r} is no time: write a date such as 2026-12-01, or 2026-12-01T06:00:00Z."
        ) from None


_COLUMNS = ("type", "tier", "above", "price", "per", "free", "rule", "from", "by")


def _rows(
    book: PriceBook, model: ModelPrices, plan: str, at: datetime
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each price that a plan's customers can meet."""
    version = model.history.at(at)
    if version is None:
        return
    own = book.plan(plan).own.get(model.name)
    versions = [version, *([mine] if own is not None and (mine := own.at(at)) else [])]
    tiers = dict.fromkeys(["", *(tier for each in versions for tier in each.tiers)])
    keys = dict.fromkeys(key for each in versions for key in _keys(each))
    keys |= dict.fromkeys(book.everywhere.prices)
    classes = sorted({0, *(start for each in versions for start in each.table.classes)})
    for tier in tiers:
        for above in classes:
            for metric, type_ in keys:
                quote = book.quote(
                    model, metric, type_, plan=plan, at=at, service_tier=tier, above=above
                )
                if quote is None or quote.above != above:
                    continue
                if not tier or quote.source != EVERY_MODEL:
                    yield _row(metric, type_, quote)


def _keys(version: Version) -> Iterator[PriceKey]:
    tables = [version.table, *(tier.table for tier in version.tiers.values())]
    for table in tables:
        yield from table.prices
        for prices in table.classes.values():
            yield from prices


def _row(metric: Metric, type_: str, quote: Quote) -> tuple[str, ...]:
    price, since = quote.price, quote.effective_from
    shown = ", ".join(
        decimal_text(tier.price, 2)
        + ("" if tier.up_to is None else f" to {grouped_units(metric, tier.up_to)}")
        for tier in price.tiers
    )
    by = quote.source
    if quote.multiplier != 1:
        by += f" x {quote.multiplier}"
    if quote.markup != 1:
        by += f" x {quote.markup} markup"
    return (
        type_ if metric is Metric.TOKENS else f"{metric} {type_}".strip(),
        quote.service_tier,
        f"{quote.above:,}" if quote.above else "",
        shown if price.price is None else decimal_text(price.price, 2),
        grouped_units(metric, price.package_size),
        grouped_units(metric, price.free_units) if price.free_units else "",
        price.charge_model.value,
        utc_text(since) if since else "",
        by,
    )
