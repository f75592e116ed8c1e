"""How commands reach the ledger: open it, do one thing, let go."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
