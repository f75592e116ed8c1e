"""Series: the dimensions of a sum, each combination interned to a number once."""

import sqlite3
from typing import NamedTuple, Self

from proxy.core.folding import Named, folded
from proxy.ledger.limit_owners import LedgerBook

SERIES_PER_SEGMENT = 2_000
"""Clients choose model names, so their number needs a bound; more are counted as what prices them.

See :mod:`proxy.core.folding`: those come on top, as many as the price book has words.
"""

DIMENSION_LENGTH = 200
_REMEMBERED = 50_000


class Dimensions(NamedTuple):
    """What one settlement's events have in common. Absent dimensions are ``""``."""

    segment_id: int
    model: str
    model_requested: str
    service_tier: str
    context_class: str
    source: str

    def priced_by(self, model: str | None, context_class: str | None) -> Self:
        """Return those of a quantity with a model or context class of its own.

        What was asked for, and how long its input was, says nothing of another model: one that
        has no price is unpriced, rather than charged as the model that was asked for.
        """
        if model is None or model == self.model:
            return self if context_class is None else self._replace(context_class=context_class)
        return self._replace(model=model, model_requested="", context_class=context_class or "")

    def of_failures(self) -> Self:
        """Return those of requests that failed: what costs nothing may choose no names, either.

        Otherwise it would be free to use up all that a segment may have. What the request was for
        is told by its row.
        """
        return self._replace(model="", model_requested="", service_tier="", context_class="")


_Row = tuple[int, str, str, str, str, str, str, str]
"""A series: its dimensions, metric and type."""

Plain = tuple[int, str, str, str, str, str]
""":class:`Dimensions` without names: to name them takes longer than to look them up."""

Types = dict[tuple[str, str], int]
"""Series by (metric, type) within one :class:`Dimensions`."""


class SeriesNumbers:
    """The numbers of the series, as far as this writer has met them.

    What was learnt in a transaction that was rolled back must be forgotten: :meth:`forget`.
    """

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._known: dict[Plain, Types] = {}
        self._count = 0
        self._folded = False

    def types(self, dimensions: Plain) -> Types:
        """Return the series known for the dimensions; what is missing, :meth:`number` finds."""
        types = self._known.get(dimensions)
        if types is None:
            if self._count > _REMEMBERED:
                self.forget()
            types = {}
            if all(len(text) <= DIMENSION_LENGTH for text in dimensions[1:]):
                self._known[dimensions] = types
                self._count += 1
        return types

    def number(
        self, connection: sqlite3.Connection, dimensions: Dimensions, metric: str, kind: str
    ) -> int:
        """Return the series' number, as it is known or as the ledger has it."""
        known = self.types(dimensions).get((metric, kind))
        return self._intern(connection, dimensions, metric, kind) if known is None else known

    def forget(self) -> None:
        """Forget every number."""
        self._known = {}
        self._count = 0
        self._folded = False

    def refresh(self) -> None:
        """Forget what was folded by a price book that may be another one now."""
        if self._folded:
            self.forget()

    def _intern(
        self, connection: sqlite3.Connection, dimensions: Dimensions, metric: str, kind: str
    ) -> int:
        """Return the series' number, making it where it is new; fold it where there are enough."""
        bounded = Dimensions(dimensions[0], *(text[:DIMENSION_LENGTH] for text in dimensions[1:]))
        row = (*bounded, str(metric), str(kind)[:DIMENSION_LENGTH])
        number = _find(connection, row)
        if number is None and self._full(connection, bounded.segment_id):
            self._folded = True
            row = self._fold(bounded, *row[6:])
            number = _find(connection, row)
        if number is None:
            number = _make(connection, row)
        if len(kind) <= DIMENSION_LENGTH:
            self.types(dimensions)[metric, kind] = number
            self._count += 1
        return number

    def _fold(self, of: Dimensions, metric: str, kind: str) -> _Row:
        named = Named(of.model, of.model_requested, of.service_tier, kind)
        model, requested, tier, kind = folded(self._book.book, named)
        return (of.segment_id, model, requested, tier, of.context_class, of.source, metric, kind)

    def _full(self, connection: sqlite3.Connection, segment_id: int) -> bool:
        (count,) = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM series WHERE segment_id = ? LIMIT ?)",
            (segment_id, SERIES_PER_SEGMENT),
        ).fetchone()
        return bool(count >= SERIES_PER_SEGMENT)


def _find(connection: sqlite3.Connection, row: _Row) -> int | None:
    found = connection.execute(
        "SELECT id FROM series WHERE segment_id = ? AND model = ? AND model_requested = ?"
        " AND service_tier = ? AND context_class = ? AND source = ? AND metric = ? AND type = ?",
        row,
    ).fetchone()
    return found and int(found[0])


def _make(connection: sqlite3.Connection, row: _Row) -> int:
    made = connection.execute(
        "INSERT INTO series (segment_id, model, model_requested, service_tier, context_class,"
        " source, metric, type) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    return int(made.lastrowid or 0)
