"""Adjustments: usage that came to be known after its period had been closed.

The closed period stays as it was billed. What the late usage would have changed there, by the
prices that the period was closed with, is charged in the period that is open when it is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from proxy.core.book import PriceBook
from proxy.core.money import ZERO, exact, total
from proxy.core.periods import Period
from proxy.core.rating.order import Line, rate
from proxy.core.series import SeriesSum

DIVIDED_ANEW = "divided anew by late usage"
"""The note on a line of an adjustment without usage of its own: late usage of others in its pool
moved what is charged for usage that was billed in time, so no request of the line explains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What ``late`` usage adds to a closed period; ``number`` is the invoice that it adjusts."""

    number: str
    period: Period
    lines: tuple[Line, ...]
    late: tuple[SeriesSum, ...] = ()

    @property
    def precise(self) -> Decimal:
        """The exact sum of the lines; it may be negative where more usage reaches a lower tier."""
        return total([line.amount for line in self.lines if line.amount is not None])


def adjusted_lines(
    book: PriceBook,
    bounds: Sequence[datetime],
    billed: Sequence[SeriesSum],
    late: Sequence[SeriesSum],
) -> tuple[Line, ...]:
    """Return what ``late`` changes in a period whose ``billed`` sums are charged already.

    Free units, packages and tiers see the whole period, so this is the difference of the period
    with and without it. ``bounds`` are :func:`proxy.core.rating.windows` of the period by
    ``book``.
    """
    before = {_same(line): line for line in rate(book, billed, bounds)}
    lines = []
    for line in rate(book, [*billed, *late], bounds):
        known = before.get(_same(line))
        changed = line if known is None else _difference(line, known)
        if changed.quantity or changed.amount:
            lines.append(changed)
    return tuple(lines)


def _same(line: Line) -> Line:
    """Return what two lines of the same usage and price have in common."""
    return replace(line, quantity=0, amount=None)


def _difference(line: Line, known: Line) -> Line:
    quantity = line.quantity - known.quantity
    if line.amount is None:
        return replace(line, quantity=quantity)
    with exact():
        return replace(line, quantity=quantity, amount=line.amount - (known.amount or ZERO))
