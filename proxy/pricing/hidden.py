"""What a plan's own prices hide: dearer ones of the model, for long context or a service tier.

A plan's own price holds for requests of every length, and at every tier that is no mere factor.
That may be meant; but who thinks of the plain price alone sells priority and long context at it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

from proxy.core.book import OWN_SOURCES, TIER_SOURCES, PriceBook, Quote
from proxy.core.money import ZERO, ratio
from proxy.core.periods import zone
from proxy.core.plans import DEFAULT_PLAN, Plan
from proxy.core.prices import DEFAULT_TIER, ModelPrices, Price, PriceKey, Version
from proxy.pricing.diff import date_text, key_text, price_text

_BEFORE = datetime(1, 1, 1, tzinfo=UTC)
"""When what has no date is in force."""


def hidden_prices(book: PriceBook) -> list[str]:
    """Return a line for each dearer price that a plan's own hides, and from when on it does."""
    listed = replace(book, plans={})
    return [line for plan in book.plans.values() for line in _hidden_by(book, listed, plan)]


def _hidden_by(book: PriceBook, listed: PriceBook, plan: Plan) -> Iterator[str]:
    for name, own in plan.own.items():
        model = book.models[name]
        told: set[str] = set()
        for moment in (_BEFORE, *sorted({*model.history.dates, *own.dates})):
            lines = [
                f"plan {plan.code} {name} {line}" for line in _at(book, listed, plan, model, moment)
            ]
            since = "" if moment == _BEFORE else f", from {date_text(moment, zone(book.timezone))}"
            yield from (f"{line}{since}" for line in lines if line not in told)
            told = set(lines)


def _at(
    book: PriceBook, listed: PriceBook, plan: Plan, model: ModelPrices, moment: datetime
) -> Iterator[str]:
    version, own = model.history.at(moment), plan.own[model.name].at(moment)
    if version is None or own is None:
        return
    tiers = dict.fromkeys((DEFAULT_TIER, *version.tiers))
    classes = sorted({0, *model.history.classes})
    for (metric, type_), tier, above in product(_keys(own), tiers, classes):
        mine, theirs = (
            of.quote(model, metric, type_, plan=code, at=moment, service_tier=tier, above=above)
            for of, code in ((book, plan.code), (listed, DEFAULT_PLAN))
        )
        if mine is None or theirs is None or not _hides(mine, theirs, tier, above):
            continue
        where = [f"at {tier}"] if tier != DEFAULT_TIER else []
        where += [f"above {above:_}"] if above else []
        yield (
            f"{key_text(metric, type_)}: {price_text(metric, mine.price)} {' '.join(where)}, "
            f"where the model has {price_text(metric, theirs.price)}"
        )


def _keys(own: Version) -> dict[PriceKey, None]:
    tables = [own.table, *(tier.table for tier in own.tiers.values())]
    return dict.fromkeys(
        key
        for table in tables
        for prices in (table.prices, *table.classes.values())
        for key in prices
    )


def _hides(mine: Quote, theirs: Quote, tier: str, above: int) -> bool:
    """Whether a plan's price holds where the model has a dearer one for this tier and class."""
    by_tier = theirs.source in TIER_SOURCES
    if mine.source not in OWN_SOURCES or theirs.above != above:
        return False
    if tier != DEFAULT_TIER and not by_tier:
        return False  # What the tier leaves out, and what a factor multiplies: it is told without.
    more_special = above > mine.above or (by_tier and mine.source not in TIER_SOURCES)
    return more_special and _dearest(theirs.price) > _dearest(mine.price)


def _dearest(price: Price) -> Decimal:
    """Return the most that a unit may cost."""
    most = max((tier.price for tier in price.tiers), default=price.price or ZERO)
    return ratio(most, price.package_size)
