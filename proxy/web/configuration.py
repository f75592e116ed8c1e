"""What is kept in memory of the ledger's configuration, and how it follows its changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proxy.core.book import PriceBook
from proxy.errors import LedgerUnavailableError
from proxy.ledger.port import Ledger
from proxy.pricing import parse

POLL_S = 0.25
"""A revoked key stops, and a new price is in force, within a second of it."""
log = logging.getLogger("weighbridge")


class BookInForce:
    """The price book that the ledger says is in force; the same in every worker."""

    def __init__(self, ledger: Ledger, book: PriceBook) -> None:
        self._ledger = ledger
        self._sequence = -1
        self.book = book

    async def refresh(self) -> None:
        """Take over the ledger's book, if it is another one."""
        adopted = await self._ledger.book()
        if adopted is not None and adopted.sequence != self._sequence:
            self.book = parse(adopted.text, "the price book in force")
            self._sequence = adopted.sequence

    def context_class(self, reported: str, requested: str, input_tokens: int) -> str:
        """Return the long-context class of a request by the book in force."""
        return self.book.context_class(reported, requested, input_tokens)


async def follow(ledger: Ledger, changed: Callable[[], Awaitable[None]]) -> None:
    """Call ``changed`` whenever keys, subscriptions or prices have changed; runs for ever."""
    known = -1
    while True:
        try:
            sequence = await ledger.configuration_sequence()
            if sequence != known:
                await changed()
                known = sequence
        except LedgerUnavailableError as error:
            log.warning("the configuration can't be refreshed: %s", error.message)
        await asyncio.sleep(POLL_S)
