"""Plans: how a price list is sold to a customer, and within which limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from proxy.core.matching import glob_matches
from proxy.core.money import ONE
from proxy.core.prices import History

DEFAULT_PLAN = "default"
SPENDS = ("spend_per_period", "spend_per_day", "spend_total")
RATES = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
"""The fields of :class:`Limits` that are money, and those that are counts."""


class Interval(StrEnum):
    """How often a plan bills."""

    MONTHLY = "monthly"


class BillingTime(StrEnum):
    """Where periods begin: with the month, or on the day on which the subscription began."""

    CALENDAR = "calendar"
    ANNIVERSARY = "anniversary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a subscription, or one key, may use; None is without limit.

    Spend is in the book's currency. ``soft_thresholds`` are parts of each spend limit (0.8: at
    80 %) that warn; the limit itself stops.
    """

    spend_per_period: Decimal | None = None
    spend_per_day: Decimal | None = None
    spend_total: Decimal | None = None
    soft_thresholds: tuple[Decimal, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A named price list: the book's prices times ``markup``, but for the plan's own.

    ``own`` holds, by entry of the price book, prices that are final: not marked up.
    ``allowed_models`` are names and globs; None allows every model.
    """

    code: str
    interval: Interval = Interval.MONTHLY
    billing_time: BillingTime = BillingTime.CALENDAR
    markup: Decimal = ONE
    own: Mapping[str, History] = field(default_factory=dict)
    allowed_models: tuple[str, ...] | None = None
    assumed_output: int | None = None
    limits: Limits = NO_LIMITS
    key_limits: Limits = NO_LIMITS

    def allows(self, *names: str | None) -> bool:
        """Tell whether any of a model's names is among the allowed ones."""
        if self.allowed_models is None:
            return True
        return any(
            glob_matches(pattern, name) for pattern in self.allowed_models for name in names if name
        )
