"""How commands reach the ledger: open it, do one thing, let go."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from proxy.core.book import PriceBook
from proxy.core.plans import DEFAULT_PLAN
from proxy.core.subscriptions import Subscription
from proxy.errors import NotFoundError
from proxy.ledger.port import Ledger
from proxy.settings import Settings

Result = TypeVar("Result")


def with_ledger(
    settings: Settings, action: Callable[[Ledger], Awaitable[Result]], *, makes: bool = False
) -> Result:
    """Run an action on the ledger that the settings name; it may be serving meanwhile.

    Only a command that ``makes`` something to begin with may begin a ledger, too.

    Raises:
        NotFoundError: There is no ledger.
    """
    from proxy.app import open_ledger  # noqa: PLC0415 - --help needs no database
    from proxy.ledger.maintenance import require_ledger  # noqa: PLC0415

    if not makes:
        require_ledger(settings.database_path)

    async def act() -> Result:
        async with open_ledger(settings) as ledger:
            return await action(ledger)

    return asyncio.run(act())


class BookInForce(NamedTuple):
    """What the proxy prices by; not ``adopted``: what it will, as it never ran on this ledger."""

    book: PriceBook
    adopted: bool


async def book_in_force(ledger: Ledger, settings: Settings) -> BookInForce:
    """Return the prices in force: the ledger's; before the proxy first ran, the file's.

    Raises:
        PricingError: They can't be read.
    """
    from proxy.app import load_book  # noqa: PLC0415 - --help needs no prices
    from proxy.pricing import parse_adopted  # noqa: PLC0415

    adopted = await ledger.book()
    if adopted is None:
        return BookInForce(load_book(settings), adopted=False)
    return BookInForce(parse_adopted(adopted.text, adopted.reading), adopted=True)


def require_plan(prices: BookInForce, settings: Settings, plan: str) -> None:
    """Raise NotFoundError where there is no such plan: what names it would be billed without."""
    if plan in {DEFAULT_PLAN, *prices.book.plans}:
        return
    known = ", ".join(sorted({DEFAULT_PLAN, *prices.book.plans}))
    file = settings.pricing_file
    if not prices.adopted:
        msg = f"{file} has no plan {plan}: take one of {known}, or add it there."
        raise NotFoundError(msg)
    msg = (
        f"There is no plan {plan} in force: take one of {known}, or add it to {file} and let the "
        "proxy adopt that; 'weighbridge prices diff' shows what it has not adopted."
    )
    raise NotFoundError(msg)


async def named_subscription(ledger: Ledger, name: str) -> Subscription:
    """Return the subscription that an operator named.

    Raises:
        NotFoundError: There is none of that name.
    """
    found = await ledger.subscription(name)
    if found is None:
        raise no_subscription(name)
    return found


def no_subscription(name: str) -> NotFoundError:
    """Return what an operator is told who named a subscription that is not there."""
    return NotFoundError(
        f"There is no subscription {name}: 'weighbridge subscriptions list' shows all."
    )
