"""Plans in ``pricing.toml``: markup, own prices, allowed models, limits."""

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from proxy.core.matching import WILDCARD, Matcher, glob_matches
from proxy.core.money import ONE, ZERO
from proxy.core.plans import DEFAULT_PLAN, RATES, SPENDS, BillingTime, Interval, Limits, Plan
from proxy.core.prices import History, ModelPrices
from proxy.pricing.amounts import Terms
from proxy.pricing.models import FACTOR_MAX, TOKENS_MAX, Dates, read_history
from proxy.pricing.table import Table, as_decimal, did_you_mean

SPEND_MAX = Decimal(1_000_000_000)

_PLAN_KEYS = (
    "interval", "billing_time", "currency", "markup", "models", "allowed_models",
    "assumed_output", "limits", "key_limits",
)  # fmt: skip
# Names of models are short, and differ in a digit.
_NAMES_ALIKE = 0.5


def read_plans(
    root: Table,
    models: Mapping[str, ModelPrices],
    terms: Callable[[str], Terms],
    dates: Dates,
    currency: str,
) -> dict[str, Plan]:
    """Read ``[plans]``; ``default`` is always there.

    ``terms`` returns those that a plan's own prices for a model have, unless they say otherwise.
    """
    plans = {DEFAULT_PLAN: Plan(code=DEFAULT_PLAN)}
    for code, table in root.named_tables("plans"):
        table.only(_PLAN_KEYS)
        if table.text("currency") not in {None, currency}:
            table.refuse("currency", f"must be the file's, {currency!r}: a file has one currency")
        markup = table.decimal("markup", low=ZERO, high=FACTOR_MAX, above=True)
        plans[code] = Plan(
            code=code,
            interval=Interval(table.choice("interval", tuple(Interval)) or Interval.MONTHLY),
            billing_time=BillingTime(
                table.choice("billing_time", tuple(BillingTime)) or BillingTime.CALENDAR
            ),
            markup=ONE if markup is None else markup,
            own=_own_prices(table, models, terms, dates),
            allowed_models=_allowed(table, models),
            assumed_output=table.integer("assumed_output", low=1, high=TOKENS_MAX),
            limits=_limits(table, "limits"),
            key_limits=_limits(table, "key_limits"),
        )
    return plans


def _own_prices(
    table: Table, models: Mapping[str, ModelPrices], terms: Callable[[str], Terms], dates: Dates
) -> dict[str, History]:
    own = {}
    for name, prices in table.named_tables("models"):
        if name not in models:
            known = did_you_mean(name, models, _NAMES_ALIKE)
            table.problems.add(prices.path, f"is no entry of [models]{known}")
        classes = models[name].history.classes if name in models else ()
        of_plan = terms(name).of(prices)
        own[name] = read_history(prices, of_plan, dates, own=True, classes=classes)
    return own


def _allowed(table: Table, models: Mapping[str, ModelPrices]) -> tuple[str, ...] | None:
    """Read the allowed models; one that no entry could ever match is a mistake."""
    patterns = table.texts("allowed_models")
    matcher = Matcher(models.values())
    names: Collection[str] = [n for m in models.values() for n in (m.name, *m.match)]
    for index, pattern in enumerate(patterns or ()):
        globbed = WILDCARD in pattern and any(glob_matches(pattern, name) for name in names)
        if not globbed and matcher.find(pattern) is None:
            meant = did_you_mean(pattern, names, _NAMES_ALIKE)
            reason = f"no entry of [models] matches {pattern!r}{meant}"
            table.problems.add((*table.path, "allowed_models", index), reason)
    return patterns


def _limits(table: Table, key: str) -> Limits:
    limits = table.table(key)
    if limits is None:
        return Limits()
    limits.only((*SPENDS, *RATES, "soft_thresholds"))
    spends = {k: limits.decimal(k, low=ZERO, high=SPEND_MAX) for k in SPENDS}
    rates = {k: limits.integer(k, low=1, high=TOKENS_MAX) for k in RATES}
    return Limits(
        spend_per_period=spends["spend_per_period"],
        spend_per_day=spends["spend_per_day"],
        spend_total=spends["spend_total"],
        soft_thresholds=_thresholds(limits),
        requests_per_minute=rates["requests_per_minute"],
        tokens_per_minute=rates["tokens_per_minute"],
        concurrent_requests=rates["concurrent_requests"],
    )


def _thresholds(limits: Table) -> tuple[Decimal, ...]:
    """Read parts of the limits, such as ``[0.5, 0.8]``."""
    value = limits.values.get("soft_thresholds", [])
    numbers = [as_decimal(part)[0] for part in value] if isinstance(value, list) else [None]
    good = [number for number in numbers if number is not None and 0 < number <= 1]
    if len(good) != len(numbers):
        reason = "must be a list of parts of the limits, from 0 to 1, such as [0.5, 0.8]"
        limits.refuse("soft_thresholds", reason)
    return tuple(sorted(good))
