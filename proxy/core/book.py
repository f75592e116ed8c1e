"""The price book: the parsed ``pricing.toml``, immutable; and what a unit costs by it.

The price of a type is looked for under its own key first, then under those it falls back to
(:mod:`proxy.core.fallbacks`). For each key, the first of these that names it decides:

1. the plan's own price for the service tier, then the plan's own price: final, not marked up;
2. the model's price for the service tier, then the model's price: times the plan's markup;
3. the book's prices for every model (tool calls): times the plan's markup.

A table's long-context price comes before its other price for the same key. A key that a more
special table names is replaced with its long-context class: where a tier has its own ``input``
and no class, long requests at that tier cost that too. A tier's multiplier multiplies the token
prices that the tier itself does not name. A tier that the file does not know costs as default.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from proxy.core.fallbacks import candidates
from proxy.core.matching import Match, Matcher
from proxy.core.money import ONE
from proxy.core.plans import DEFAULT_PLAN, Plan
from proxy.core.prices import (
    ModelPrices,
    Price,
    PriceKey,
    PriceTable,
    Version,
    canonical_tier,
    class_text,
)
from proxy.core.usage import Metric

READING = 2
"""By which rules a file's text becomes a book. A text that was adopted keeps the rules of then, for
what is billed by it must not change (:mod:`proxy.pricing.document` has the rules)."""


class Unpriced(StrEnum):
    """What happens to a model without a price: shown as unpriced, or refused beforehand."""

    FLAG = "flag"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What one type costs a plan at a moment, and why.

    ``price`` is what the customer pays; ``listed`` is the price in the file before ``multiplier``
    and ``markup``. ``key`` is the key that priced it, ``above`` the long-context class that did
    (0: none), ``source`` whose table it was.
    """

    price: Price
    listed: Price
    key: PriceKey
    priced_as: str
    effective_from: datetime | None
    service_tier: str
    above: int
    source: str
    multiplier: Decimal
    markup: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Everything ``pricing.toml`` says. Prices are in ``currency``, dates by ``timezone``."""

    currency: str = "USD"
    timezone: str = "UTC"
    unpriced: Unpriced = Unpriced.FLAG
    models: Mapping[str, ModelPrices] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    everywhere: PriceTable = field(default_factory=PriceTable)
    _matcher: Matcher = field(init=False, repr=False, compare=False)
    _dates: tuple[datetime, ...] = field(init=False, repr=False, compare=False)
    _classes: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index what is looked up often."""
        histories = [model.history for model in self.models.values()]
        histories += [own for plan in self.plans.values() for own in plan.own.values()]
        dates = {moment for history in histories for moment in history.dates}
        object.__setattr__(self, "_matcher", Matcher(self.models.values()))
        object.__setattr__(self, "_dates", tuple(sorted(dates)))
        object.__setattr__(self, "_classes", dict(self._thresholds()))

    def match(self, reported: str | None, requested: str | None) -> Match | None:
        """Return how a model is priced: by its reported name, else by the requested one."""
        return self._matcher.find(reported) or self._matcher.find(requested)

    def entry(self, reported: str | None, requested: str | None) -> ModelPrices | None:
        """Return the entry that prices a model, None if it is unpriced."""
        found = self.match(reported, requested)
        return None if found is None else found.model

    def plan(self, code: str) -> Plan:
        """Return a plan; one that the file no longer has is billed as ``default``."""
        return self.plans.get(code) or self.plans.get(DEFAULT_PLAN) or _LIST_PRICE

    def allows(self, plan_code: str, requested: str) -> bool:
        """Tell whether a plan allows a model, by the name asked for or its entry's name."""
        plan = self.plan(plan_code)
        if plan.allowed_models is None:
            return True
        model = self.entry(requested, None)
        return plan.allows(requested, model.name if model else None)

    def nearest(self, name: str, limit: int = 3) -> list[str]:
        """Return the entries' names and aliases that look most like ``name``."""
        from difflib import get_close_matches  # noqa: PLC0415 - rare, and slow to import

        known = [n for m in self.models.values() for n in (m.name, *m.match)]
        return get_close_matches(name, known, limit, 0.5)

    def boundaries(self, start: datetime, end: datetime) -> list[datetime]:
        """Return the moments strictly inside ``[start, end)`` at which any price changes."""
        return list(self._dates[bisect_right(self._dates, start) : bisect_left(self._dates, end)])

    def context_class(self, reported: str | None, requested: str | None, input_tokens: int) -> str:
        """Return the long-context class of a request: ``""`` or ``above_272000``.

        It is fixed at settlement: the highest threshold of any version that the input is above.
        """
        found = self._matcher.find(reported) or self._matcher.find(requested)
        starts = self._classes.get(found.model.name) if found else None
        if not starts:
            return ""
        return class_text(max((s for s in starts if input_tokens > s), default=0))

    def quote(
        self,
        model: ModelPrices,
        metric: Metric,
        type_: str,
        *,
        plan: str,
        at: datetime,
        service_tier: str = "",
        above: int = 0,
    ) -> Quote | None:
        """Return what a type of a metric costs; None where the book has no price for it."""
        version = model.history.at(at)
        if version is None:
            return None
        buyer = self.plan(plan)
        own = buyer.own[model.name].at(at) if model.name in buyer.own else None
        tier = canonical_tier(service_tier)
        multiplier = _multiplier(metric, tier, own, version)
        layers = _layers(own, version, tier, self.everywhere)
        for key in candidates(metric, type_):
            for source, table in layers:
                found = table.find(key, above)
                if found is None:
                    continue
                scale = ONE if source in TIER_SOURCES else multiplier
                markup = ONE if source in OWN_SOURCES else buyer.markup
                return Quote(
                    price=found[0].times(scale).times(markup),
                    listed=found[0],
                    key=key,
                    priced_as=model.name,
                    effective_from=_latest(version, own),
                    service_tier=tier,
                    above=found[1],
                    source=source,
                    multiplier=scale,
                    markup=markup,
                )
        return None

    def _thresholds(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, model in self.models.items():
            starts = set(model.history.classes)
            for plan in self.plans.values():
                if name in plan.own:
                    starts |= plan.own[name].classes
            if starts:
                yield name, tuple(sorted(starts))


_LIST_PRICE = Plan(code=DEFAULT_PLAN)
EVERY_MODEL = "every model"
"""The source of prices that hold whatever the model and the service tier."""
OWN_SOURCES = frozenset({"plan tier", "plan"})
"""The sources of a plan's own prices."""
TIER_SOURCES = frozenset({"plan tier", "tier"})
"""The sources of the prices that a service tier names itself."""


def _layers(
    own: Version | None, version: Version, tier: str, everywhere: PriceTable
) -> list[tuple[str, PriceTable]]:
    layers = []
    if own is not None:
        if tier in own.tiers:
            layers.append(("plan tier", own.tiers[tier].table))
        layers.append(("plan", own.table))
    if tier in version.tiers:
        layers.append(("tier", version.tiers[tier].table))
    layers.append(("model", version.table))
    if everywhere.prices:
        layers.append((EVERY_MODEL, everywhere))
    return layers


def _multiplier(metric: Metric, tier: str, own: Version | None, version: Version) -> Decimal:
    """Return what multiplies prices that the tier does not name: of tokens only."""
    if metric is not Metric.TOKENS:
        return ONE
    for side in (own, version):
        named = side.tiers.get(tier) if side else None
        if named is not None and named.multiplier is not None:
            return named.multiplier
    return ONE


def _latest(version: Version, own: Version | None) -> datetime | None:
    dates = [v.effective_from for v in (version, own) if v and v.effective_from]
    return max(dates, default=None)
