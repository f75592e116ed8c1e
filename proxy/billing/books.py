"""Price books by the number under which the ledger adopted them."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from proxy.core.book import PriceBook
from proxy.errors import NotFoundError
from proxy.ledger.port import AdoptedBook, Ledger
from proxy.pricing import parse_adopted

KEPT = 8
"""Parsed books kept in memory: the one in force, and those that explanations ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A price book, and the number under which it was adopted."""

    sequence: int
    book: PriceBook


class BookShelf:
    """Parses each adopted book once, in a thread: a large one takes tens of milliseconds."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._kept: OrderedDict[int, PriceBook] = OrderedDict()

    async def in_force(self) -> Edition:
        """Return the book in force.

        Errors: NotFoundError before the proxy first ran.
        """
        return await self._edition(await self.ledger.book())

    async def of(self, sequence: int) -> PriceBook:
        """Return the book that was adopted under a number."""
        kept = self._kept.get(sequence)
        if kept is not None:
            return kept
        return (await self._edition(await self.ledger.book(sequence))).book

    def keep(self, sequence: int, book: PriceBook) -> None:
        """Keep a book that was parsed elsewhere."""
        self._kept[sequence] = book
        self._kept.move_to_end(sequence)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def _edition(self, adopted: AdoptedBook | None) -> Edition:
        if adopted is None:
            raise NotFoundError(
                "No price book was adopted yet: start the proxy once with 'weighbridge serve'."
            )
        book = self._kept.get(adopted.sequence)
        if book is None:
            book = await asyncio.to_thread(parse_adopted, adopted.text, adopted.reading)
        self.keep(adopted.sequence, book)
        return Edition(sequence=adopted.sequence, book=book)
