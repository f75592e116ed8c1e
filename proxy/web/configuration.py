"""What is kept in memory of the ledger's configuration, and how it follows its changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from proxy.billing.books import BookShelf
from proxy.core.book import PriceBook
from proxy.errors import LedgerUnavailableError, PricingError
from proxy.ledger.port import Ledger

POLL_S = 0.25
"""A revoked key stops, and a new price is in force, within a second of it."""
log = logging.getLogger("weighbridge")


class BookInForce:
    """The price book that the ledger says is in force; the same in every worker."""

    def __init__(self, shelf: BookShelf, book: PriceBook) -> None:
        self.shelf = shelf
        self.sequence = -1
        self.book = book

    async def refresh(self) -> None:
        """Take over the ledger's book, if it is another one."""
        try:
            edition = await self.shelf.in_force()
        except PricingError as error:
            # Adopted by a newer version of this program, say: what is known stays.
            log.error("the price book in force can't be read: %s", error.message)  # noqa: TRY400
            return
        self.book, self.sequence = edition.book, edition.sequence

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
