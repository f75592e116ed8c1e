"""What waits for the writer, and what came of it."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from proxy.errors import LedgerUnavailableError, ProxyError
from proxy.ledger.port import Admission, OpenCall, Refusal, Settlement

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Change = Callable[[sqlite3.Connection], object]
"""A change that operators or upkeep make: one transaction of its own, its value the outcome."""


class Waiting(Generic[Item, Outcome]):
    """Items, and the future of each one's outcome.

    The loop adds and resolves, the writer's thread reads the items and sets ``outcomes``, which
    has one for each item or is empty (nothing was written).
    """

    __slots__ = ("futures", "items", "outcomes")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.futures: list[asyncio.Future[Outcome]] = []
        self.outcomes: Sequence[Outcome | ProxyError] = ()

    def resolve(self, error: LedgerUnavailableError) -> list[tuple[Item, Outcome]]:
        """Hand the outcomes out, ``error`` where there is none; return those nobody waited for."""
        missed: list[tuple[Item, Outcome]] = []
        outcomes = self.outcomes or (error,) * len(self.items)
        for item, future, outcome in zip(self.items, self.futures, outcomes, strict=True):
            if isinstance(outcome, ProxyError):
                if not future.done():
                    future.set_exception(outcome)
            elif future.done():
                missed.append((item, outcome))
            else:
                future.set_result(outcome)
        return missed

    def refuse(self, error: LedgerUnavailableError) -> None:
        """Fail everyone who still waits; what is being written is written all the same."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error)


class Batch:
    """All that waited when the writer became free."""

    __slots__ = ("changes", "opens", "settles")

    def __init__(self) -> None:
        self.opens: Waiting[OpenCall, Admission | Refusal] = Waiting()
        self.settles: Waiting[Settlement, bool] = Waiting()
        self.changes: Waiting[Change, object] = Waiting()

    def __len__(self) -> int:
        return len(self.opens.items) + len(self.settles.items) + len(self.changes.items)

    def without_the_fewer(self) -> "Batch | None":
        """Take out the openings or the settlements, whichever are fewer, as a batch.

        None, and nothing, where it is of one kind, or where changes wait.
        """
        opens, settles = len(self.opens.items), len(self.settles.items)
        if not opens or not settles or self.changes.items:
            return None
        rest = Batch()
        if opens <= settles:
            self.opens, rest.opens = rest.opens, self.opens
        else:
            self.settles, rest.settles = rest.settles, self.settles
        return rest
