"""How commands reach the ledger: open it, do one thing, let go."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from proxy.ledger.port import Ledger
from proxy.settings import Settings

Result = TypeVar("Result")


def with_ledger(settings: Settings, action: Callable[[Ledger], Awaitable[Result]]) -> Result:
    """Run an action on the ledger that the settings name; it may be serving meanwhile."""
    from proxy.app import open_ledger  # noqa: PLC0415 - --help needs no database

    async def act() -> Result:
        async with open_ledger(settings) as ledger:
            return await action(ledger)

    return asyncio.run(act())
