"""What keeps billing up: the operator's edits of prices, and the closing of periods.

Every worker looks at the pricing file, so that each can say whether it is refused; the one that
leads (:meth:`proxy.ledger.port.Ledger.leads`) adopts it, for all. So edits take effect in the
order in which they were saved, and no two workers put their own reading against each other's.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from proxy.billing.books import BookShelf
from proxy.billing.closing import Closer
from proxy.billing.repricing import changes_between, reprice
from proxy.core.book import PriceBook
from proxy.core.periods import utc_text
from proxy.core.times import QUARTER_S
from proxy.errors import LedgerUnavailableError, NotFoundError, PricingError, ProxyError
from proxy.pricing import refuse_change
from proxy.pricing.watch import LOOK_S, GoodFile, PriceFile, RefusedFile, read_pricing_file

CLOSE_EVERY_S = 60.0
CLOSING_PAUSE_S = 0.02
MOST_LINES = 50
"""Lines of a diff that are logged; an edit of more is said to be longer."""
Found = TypeVar("Found", GoodFile | RefusedFile, GoodFile | RefusedFile | None)
log = logging.getLogger("weighbridge")


class BillingUpkeep:
    """Follows the pricing file and closes periods, for as long as the worker runs."""

    def __init__(
        self, shelf: BookShelf, path: Path, *, grace_s: float, now: Callable[[], datetime]
    ) -> None:
        self.shelf = shelf
        self._ledger = shelf.ledger
        self._path = path
        self._file = PriceFile(path)
        self._closer = Closer(shelf, grace_s, CLOSING_PAUSE_S)
        self._grace_s = grace_s
        self._now = now
        self._leads = False
        self._refused: str | None = None
        self._background: set[asyncio.Task[None]] = set()

    def status(self) -> dict[str, Any]:
        """Return what ``/readyz`` says of the prices: why the file is refused, or None."""
        return {"refused": self._refused}

    def read_again(self) -> None:
        """Read the pricing file anew, changed or not (SIGHUP)."""
        self._file.forget()

    async def begin(self) -> PriceBook:
        """Return the book to start with: the file's, else the one in force, loudly.

        Errors: PricingError where neither can be used.
        """
        self._leads = await self._ledger.leads()
        found = await self._judged(await asyncio.to_thread(read_pricing_file, self._path))
        adopted = await self._ledger.book()
        if isinstance(found, GoodFile):
            if adopted is None or self._leads:
                await self._adopt(found)
            return (await self.shelf.in_force()).book
        if adopted is None:
            raise PricingError(found.message)
        self._refused = found.message
        log.error(
            "prices refused: starting with those in force since %s\n%s",
            utc_text(adopted.adopted_at.replace(microsecond=0)),
            found.message,
        )
        return (await self.shelf.in_force()).book

    async def follow(self) -> None:
        """Follow the file, until cancelled."""
        self._file.forget()  # If this failed, what it saw last may not have been adopted.
        try:
            while True:
                try:
                    await self.look()
                except LedgerUnavailableError as error:
                    self._file.forget()
                    log.warning("the prices can't be adopted now: %s", error.message)
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._background:
                task.cancel()

    async def look(self) -> None:
        """Look at the file once; adopt a good one, if this worker leads, and say what changed."""
        if not self._leads and await self._ledger.leads():
            self._leads = True
            self._file.forget()
        found = await self._judged(await asyncio.to_thread(self._file.look))
        if isinstance(found, RefusedFile):
            if self._leads and found.message != self._refused:
                log.error("prices refused, those in force stay:\n%s", found.message)
            self._refused = found.message
        elif found is not None:
            if self._refused is not None and self._leads:
                log.info("prices can be read again")
            self._refused = None
            if self._leads:
                await self._adopt(found)

    async def _judged(self, found: Found) -> Found | RefusedFile:
        """Refuse a good file that changes what must last, now that there is usage."""
        if not isinstance(found, GoodFile):
            return found
        try:
            old = (await self.shelf.in_force()).book
        except (NotFoundError, PricingError):
            return found  # There is nothing to compare with.
        used = await self._ledger.used_plans()
        reason = refuse_change(old, found.book, used, found.text, str(self._path))
        return found if reason is None else RefusedFile(message=reason)

    async def _adopt(self, found: GoodFile) -> None:
        before = await self._ledger.book()
        sha256 = hashlib.sha256(found.text.encode()).hexdigest()
        adopted = await self._ledger.adopt_book(found.text, sha256)
        self.shelf.keep(adopted.sequence, found.book)
        if before is None or adopted.sequence == before.sequence:
            return
        try:
            old = await self.shelf.of(before.sequence)
        except PricingError as error:
            # A stricter version of this program may no longer read what an older one adopted.
            log.warning("the prices before can't be compared: %s", error.message)
            return
        changes = await changes_between(self._ledger, old, found.book)
        log.info("prices adopted, number %d: %s", adopted.sequence, _summary(changes))
        for change in changes[:MOST_LINES]:
            log.info("prices: %s", change)
        if changes:
            self._start_repricing(old, found.book)

    def _start_repricing(self, old: PriceBook, new: PriceBook) -> None:
        # Only the last edit's effect is of interest.
        for running in self._background:
            running.cancel()
        task = asyncio.get_running_loop().create_task(self._reprice(old, new))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _reprice(self, old: PriceBook, new: PriceBook) -> None:
        try:
            effect = await reprice(self.shelf, old, new, self._now())
        except ProxyError as error:
            log.warning("what the edit of prices changes can't be told: %s", error.message)
        else:
            if effect.changed:
                log.warning("prices: %s", effect)

    async def close(self) -> None:
        """Close periods as they end, until cancelled."""
        looked_at = None
        while True:
            # Periods end at midnights, and those are on quarter hours all over the world.
            quarter = int((self._now().timestamp() - self._grace_s) // QUARTER_S)
            if self._leads and quarter != looked_at and await self.close_due():
                looked_at = quarter
            await asyncio.sleep(CLOSE_EVERY_S)

    async def close_due(self) -> bool:
        """Close what is due, and log it; tell whether nothing had to be left for later."""
        done = True
        try:
            async for outcome in self._closer.close_due(self._now()):
                period = f"{outcome.subscription} through {utc_text(outcome.period.end)}"
                if outcome.closed is None:
                    done = False
                    log.info("%s can't be closed yet: %s", period, outcome.reason)
                else:
                    closed = outcome.closed
                    money = f"{closed.currency} {closed.amount}"
                    log.info("closed %s: %s, %s", period, closed.number, money)
        except (LedgerUnavailableError, NotFoundError) as error:
            log.warning("periods can't be closed now: %s", error.message)
            done = False
        return done


def _summary(changes: list[str]) -> str:
    if not changes:
        return "no price changed"
    more = f", of which {MOST_LINES} follow" if len(changes) > MOST_LINES else ""
    return f"{len(changes)} changes{more}"
