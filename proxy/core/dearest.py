"""The dearest way in which something can be priced: over types, tiers and context classes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from proxy.core.book import PriceBook
from proxy.core.money import PLACES, ZERO, exact, ratio
from proxy.core.prices import (
    DEFAULT_TIER,
    ModelPrices,
    Price,
    PriceKey,
    PriceTable,
    canonical_tier,
)
from proxy.core.usage import Metric, TokenType

_TEXT_IN = (TokenType.INPUT, TokenType.CACHED_INPUT, TokenType.CACHE_WRITE)
_LONG_CACHE_IN = (TokenType.CACHE_WRITE_1H, TokenType.CACHE_WRITE_12H)
_MEDIA_IN = (
    TokenType.INPUT_AUDIO,
    TokenType.CACHED_INPUT_AUDIO,
    TokenType.INPUT_IMAGE,
    TokenType.CACHED_INPUT_IMAGE,
)
_TEXT_OUT = (TokenType.OUTPUT,)
_MEDIA_OUT = (TokenType.OUTPUT_AUDIO, TokenType.OUTPUT_IMAGE)
_FINEST = Decimal(1).scaleb(-PLACES)


class Unit(NamedTuple):
    """The dearest price of a unit of some types, and what started packages may add; None: none."""

    price: Decimal | None
    packages: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What a model costs at most, for requests alike."""

    input: Unit
    output: Unit
    request: Unit
    tool_call: Unit
    image: Unit
    character: Unit
    audio_us: Unit


@dataclass(frozen=True, slots=True)
class Entry:
    """What a plan buys when it asks for a model."""

    model: ModelPrices
    dates: tuple[datetime, ...]
    classes: tuple[int, ...]
    tiers: tuple[str, ...]
    assumed_output: int | None


class Ways(NamedTuple):
    """All the ways in which a request may be priced."""

    book: PriceBook
    plan: str
    entry: Entry
    at: datetime
    asked_tier: str | None
    reached: int

    def terms(self, *, media: bool, long_cache: bool) -> Terms:
        """Return the dearest of them, for each thing that is counted."""
        into = _TEXT_IN + (_LONG_CACHE_IN if long_cache else ())
        into += _MEDIA_IN if media else ()
        out = _TEXT_OUT + (_MEDIA_OUT if media else ())
        return Terms(
            input=self._dearest(Metric.TOKENS, into),
            output=self._dearest(Metric.TOKENS, out),
            request=self._dearest(Metric.REQUESTS, ("",)),
            tool_call=self._dearest(Metric.TOOL_CALLS, self._types(Metric.TOOL_CALLS)),
            image=self._dearest(Metric.IMAGES, self._types(Metric.IMAGES)),
            character=self._dearest(Metric.CHARACTERS, ("",)),
            audio_us=self._dearest(Metric.AUDIO_SECONDS, ("",)),
        )

    def _dearest(self, metric: Metric, types: Iterable[str]) -> Unit:
        highest: Decimal | None = None
        packages: dict[PriceKey, Decimal] = {}
        with exact():
            for type_ in types:
                for key, price in self._prices(metric, type_):
                    unit = _unit(price)
                    highest = unit if highest is None else max(highest, unit)
                    packages[key] = max(packages.get(key, ZERO), _one_package(price))
            # Types that are charged as one share its pool, and so the package that they start.
            return Unit(highest, sum(packages.values(), ZERO))

    def _prices(self, metric: Metric, type_: str) -> Iterator[tuple[PriceKey, Price]]:
        for tier in self._tiers():
            for above in (0, *self.entry.classes[: self.reached]):
                quote = self.book.quote(
                    self.entry.model, metric, type_,
                    plan=self.plan, at=self.at, service_tier=tier, above=above,
                )  # fmt: skip
                if quote is not None:
                    yield quote.key, quote.price

    def _tiers(self) -> tuple[str, ...]:
        """Return the tiers that the answer may name: all, unless the request names one itself."""
        asked = self.asked_tier
        if asked in {None, "", "auto"}:
            return self.entry.tiers
        return tuple({DEFAULT_TIER, canonical_tier(asked)})

    def _types(self, metric: Metric) -> set[str]:
        """Return the types of a metric that any table which applies has a price for."""
        tables: list[PriceTable] = [self.book.everywhere]
        own = self.book.plan(self.plan).own.get(self.entry.model.name)
        for history in (self.entry.model.history, own):
            for version in history.versions if history else ():
                tables += [version.table, *(tier.table for tier in version.tiers.values())]
        return {
            key[1]
            for table in tables
            for prices in (table.prices, *table.classes.values())
            for key in prices
            if key[0] is metric
        }


def entry_of(book: PriceBook, plan: str, model: ModelPrices) -> Entry:
    """Return all that the book says of a model on a plan."""
    buyer = book.plan(plan)
    histories = [model.history]
    if model.name in buyer.own:
        histories.append(buyer.own[model.name])
    tiers = {
        tier for history in histories for version in history.versions for tier in version.tiers
    }
    return Entry(
        model=model,
        dates=tuple(sorted({date for history in histories for date in history.dates})),
        classes=tuple(sorted({start for history in histories for start in history.classes})),
        tiers=(DEFAULT_TIER, *sorted(tiers - {DEFAULT_TIER})),
        assumed_output=buyer.assumed_output,
    )


def _unit(price: Price) -> Decimal:
    """Return the price of a unit, rounded up where the quotient does not end."""
    highest = max((tier.price for tier in price.tiers), default=price.price or ZERO)
    unit = ratio(highest, price.package_size)
    return unit if unit * price.package_size >= highest else unit + _FINEST


def _one_package(price: Price) -> Decimal:
    return _unit(price) * price.package_size if price.whole_packages else ZERO
