"""What things cost: prices, the tables that hold them, and their versions in time.

A :class:`PriceTable` holds prices by metric and type, and again by long-context class. A
:class:`Version` is a table and its service tiers from a moment on; a :class:`History` is all
versions of one model, or of one plan's own prices for a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from proxy.core.money import exact
from proxy.core.usage import Metric

PriceKey: TypeAlias = tuple[Metric, str]
Prices: TypeAlias = Mapping[PriceKey, "Price"]

DEFAULT_TIER = "default"
# "auto" asks for a tier and is none; "fast" is answered as "priority" (OpenAI's processing modes).
_TIER_ALIASES = {
    "": DEFAULT_TIER,
    "auto": DEFAULT_TIER,
    "standard": DEFAULT_TIER,
    "fast": "priority",
}

CLASS_PREFIX = "above_"


class ChargeModel(StrEnum):
    """How a quantity becomes an amount; each has a file in :mod:`proxy.core.rating`."""

    STANDARD = "standard"
    PACKAGE = "package"
    GRADUATED = "graduated"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A step of a tiered price: up to and including ``up_to`` units (None: without end)."""

    up_to: int | None
    price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of ``package_size`` units of one type of one metric.

    Units are those of :class:`proxy.core.usage.Quantity` (microseconds for ``audio_seconds``).
    ``price`` is None where ``tiers`` has the prices. ``whole_packages`` charges every started
    package in full. ``free_units`` are free in each pool and period.
    """

    price: Decimal | None
    package_size: int
    free_units: int = 0
    whole_packages: bool = False
    mode: ChargeModel | None = None
    tiers: tuple[Tier, ...] = ()

    @property
    def charge_model(self) -> ChargeModel:
        """The rule that rates this price."""
        if self.mode is not None:
            return self.mode
        return ChargeModel.PACKAGE if self.whole_packages else ChargeModel.STANDARD

    @property
    def pooled(self) -> bool:
        """Whether an amount depends on the whole pool's quantity, not on the part's alone."""
        return self.whole_packages or self.free_units > 0 or self.mode is not None

    def times(self, factor: Decimal) -> "Price":
        """Return the same price, dearer or cheaper by an exact factor."""
        if factor == 1:
            return self
        with exact():
            return Price(
                price=None if self.price is None else self.price * factor,
                package_size=self.package_size,
                free_units=self.free_units,
                whole_packages=self.whole_packages,
                mode=self.mode,
                tiers=tuple(Tier(up_to=t.up_to, price=t.price * factor) for t in self.tiers),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices, and the prices of requests whose input is ``above`` so many tokens.

    A class need not name every price: what it leaves out costs the same as below it.
    """

    prices: Prices = field(default_factory=dict)
    classes: Mapping[int, Prices] = field(default_factory=dict)

    def find(self, key: PriceKey, above: int) -> tuple[Price, int] | None:
        """Return the price of a key in the class ``above``, and the class that named it.

        ``above`` is what the ledger knows of the request: its input was above that. Classes of
        this table that start higher can't be told to apply.
        """
        if above and self.classes:
            for start in sorted(self.classes, reverse=True):
                price = self.classes[start].get(key) if start <= above else None
                if price is not None:
                    return price, start
        price = self.prices.get(key)
        return None if price is None else (price, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTier:
    """A service tier: its own prices, and what multiplies the token prices it does not name."""

    multiplier: Decimal | None = None
    table: PriceTable = field(default_factory=PriceTable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The prices from ``effective_from`` (aware UTC; None: from ever) to the next version."""

    effective_from: datetime | None
    table: PriceTable
    tiers: Mapping[str, ServiceTier] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Versions in the order of time."""

    versions: tuple[Version, ...]

    def at(self, moment: datetime) -> Version | None:
        """Return the version in force at a moment, if prices had begun by then."""
        for version in reversed(self.versions):
            if version.effective_from is None or version.effective_from <= moment:
                return version
        return None

    @property
    def dates(self) -> tuple[datetime, ...]:
        """When prices change."""
        return tuple(v.effective_from for v in self.versions if v.effective_from is not None)

    @property
    def classes(self) -> frozenset[int]:
        """All long-context thresholds of all versions."""
        return frozenset(start for version in self.versions for start in version.table.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """One entry of the price book: the names it goes by, and its prices in time."""

    name: str
    match: tuple[str, ...] = ()
    history: History
    context_window: int | None = None
    max_output: int | None = None


def canonical_tier(service_tier: str | None) -> str:
    """Return the tier that is billed for what an answer says: ``fast`` is ``priority``."""
    tier = service_tier or ""
    return _TIER_ALIASES.get(tier, tier)


def class_text(above: int) -> str:
    """Write a long-context class: ``above_272000``, or ``""`` for none."""
    return f"{CLASS_PREFIX}{above}" if above else ""


def class_above(context_class: str) -> int:
    """Read a long-context class back; 0 for none."""
    digits = context_class.removeprefix(CLASS_PREFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0
