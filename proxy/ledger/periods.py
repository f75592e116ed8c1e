"""What a ledger says of billing periods, and is told of their closing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proxy.core.periods import Period
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSum:
    """What was added to a sum after its period had been closed.

    ``at`` is the beginning of its quarter hour; ``sum`` has window 0. ``id`` names it when it is
    billed: with the invoice ``billed_in``, once there is one.
    """

    id: int
    at: datetime
    sum: SeriesSum
    billed_in: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodSums:
    """All that an invoice of a period is made from, as of one moment.

    ``subscription.plan`` is the one that it was on at the period's end, not the one since then.
    ``sums`` are those of the windows asked for. ``unsettled`` counts the requests that were
    accepted before the period's end and still run: until there are none it can't be closed.
    """

    subscription: Subscription
    sums: Sequence[SeriesSum]
    late: Sequence[LateSum]
    unsettled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A period to be closed. ``facts`` are what ``invoice`` was made from.

    ``bounds`` are the windows of ``facts.sums``; ``invoice`` is its JSON object, which gets its
    number from the ledger; money is decimal text.
    """

    period: Period
    bounds: Sequence[datetime]
    facts: PeriodSums
    book_sequence: int
    currency: str
    amount: str
    precise_amount: str
    invoice: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedPeriod:
    """A closed period: numbered, and the same for ever."""

    id: int
    number: str
    subscription: str
    period: Period
    closed_at: datetime
    book_sequence: int
    book_sha256: str
    currency: str
    amount: str
    precise_amount: str
    sums: Sequence[SeriesSum]
    invoice: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """A subscription, how far it is closed, and the first of its usage after that.

    ``through`` is the end of its last closed period, ``first`` the beginning of the quarter hour
    of the usage; None: there is none. ``late`` tells whether anything late waits to be billed.
    """

    subscription: Subscription
    through: datetime | None
    first: datetime | None
    late: bool
