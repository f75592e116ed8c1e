"""Models in ``pricing.toml``: names, prices, long-context classes, service tiers, versions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from proxy.core.matching import WILDCARD, clashes
from proxy.core.money import ZERO
from proxy.core.periods import midnight, utc_text, zone
from proxy.core.prices import (
    DEFAULT_TIER,
    History,
    ModelPrices,
    Price,
    PriceKey,
    PriceTable,
    ServiceTier,
    Version,
    canonical_tier,
)
from proxy.core.times import QUARTER_S
from proxy.pricing.amounts import PRICE_KEYS, TOKEN_KEYS, Terms, read_prices
from proxy.pricing.table import Table

TOKENS_MAX = 1_000_000_000
FACTOR_MAX = Decimal(100)

_SECTION_KEYS = (*PRICE_KEYS, "long_context", "service_tiers")
_HISTORY_KEYS = (*_SECTION_KEYS, "package_size", "rounding", "versions")
_MODEL_KEYS = (*_HISTORY_KEYS, "match", "context_window", "max_output")
_VERSION_HINT = ": a version holds prices; package_size and rounding hold for the whole model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """How dates of the file become moments."""

    timezone: str

    def moment(self, table: Table, key: str) -> datetime | None:
        """Read a date (its midnight) or a time on a quarter hour, as aware UTC."""
        if key not in table:
            table.problems.add(table.path, f"needs {key}: a date such as 2026-12-01")
            return None
        value = table.values[key]
        if not isinstance(value, date):
            table.refuse(key, "must be a date such as 2026-12-01 or a time such as "
                         "2026-12-01T00:00:00Z, without quotes")  # fmt: skip
            return None
        try:
            moment = self._utc(value)
        except (OverflowError, ValueError):
            table.refuse(key, f"is too far away: {value}")
            return None
        if moment.timestamp() % QUARTER_S:
            table.refuse(key, f"must be on a quarter hour (UTC), not {utc_text(moment)}")
            return None
        return moment

    def _utc(self, value: date) -> datetime:
        if not isinstance(value, datetime):
            return midnight(value, self.timezone)
        if value.tzinfo is None:
            value = value.replace(tzinfo=zone(self.timezone))
        return value.astimezone(UTC)


def read_models(
    root: Table, terms: Terms, dates: Dates
) -> tuple[dict[str, ModelPrices], dict[str, Terms]]:
    """Read ``[models]`` and the terms of each, and refuse names that lead to two entries."""
    models = {}
    terms_of = {}
    for name, table in root.named_tables("models"):
        table.only(_MODEL_KEYS)
        if not name.strip() or WILDCARD in name:
            reason = 'is no name of a model: a glob belongs into match = ["…"] of an entry'
            root.problems.add(table.path, reason)
        terms_of[name] = terms.of(table)
        models[name] = ModelPrices(
            name=name,
            match=_patterns(table),
            history=read_history(table, terms_of[name], dates),
            context_window=table.integer("context_window", low=1, high=TOKENS_MAX),
            max_output=table.integer("max_output", low=1, high=TOKENS_MAX),
        )
    for clash in clashes(models.values()):
        root.problems.add(("models", clash.model, "match", clash.index), clash.reason)
    return models, terms_of


def read_history(
    table: Table, terms: Terms, dates: Dates, *, own: bool = False, classes: Collection[int] = ()
) -> History:
    """Read the prices of an entry (or a plan's own for it) and their later versions.

    ``terms`` are the table's own. ``classes`` are the thresholds of long context that the entry has
    where these are a plan's.
    """
    if own:
        table.only(_HISTORY_KEYS)
    first = read_version(table, terms, None)
    rows: list[tuple[datetime, Table]] = []
    for row in table.tables("versions"):
        row.only((*_SECTION_KEYS, "effective_from"), _VERSION_HINT)
        moment = dates.moment(row, "effective_from")
        if any(moment == other for other, _ in rows):
            row.refuse("effective_from", "is the date of another version, too")
        elif moment is not None:
            rows.append((moment, row))
    priced = first.table.prices or first.table.classes or first.tiers
    if not priced and "versions" not in table and not any(k in table for k in _SECTION_KEYS):
        table.problems.add(table.path, "has no price: write 0 for what is free")
    versions = [first] if priced or not rows else []
    read = [(table, first)]
    for moment, row in sorted(rows, key=lambda pair: pair[0]):
        version = read_version(row, terms, moment)
        read.append((row, version))
        if versions:
            version = carry_over(versions[-1], version, factors=terms.first_reading)
        versions.append(version)
    history = History(versions=tuple(versions))
    for row, version in read:
        _refuse_unknown_classes(row, version, {*history.classes, *classes})
    return history


def read_version(table: Table, terms: Terms, effective_from: datetime | None) -> Version:
    """Read one set of prices: the table's own, by class, by service tier."""
    prices = PriceTable(prices=read_prices(table, terms), classes=_classes(table, terms))
    tiers = _tiers(table, terms)
    return Version(effective_from=effective_from, table=prices, tiers=tiers)


def carry_over(before: Version, after: Version, *, factors: bool) -> Version:
    """Return ``after`` with everything that it leaves out as it was before.

    A long-context class with the same threshold and a tier of the same name are carried over key
    by key, another threshold replaces the classes, a tier given as a number replaces the tier. A
    tier's multiplier is no such key, unless ``factors``: a table that leaves it out has none.
    """
    changed = {
        name: _carry_tier(before.tiers.get(name), tier, factors=factors)
        for name, tier in after.tiers.items()
    }
    return Version(
        effective_from=after.effective_from,
        table=_carry_table(before.table, after.table),
        tiers={**before.tiers, **changed},
    )


def _carry_table(before: PriceTable, after: PriceTable) -> PriceTable:
    classes: Mapping[int, Mapping[PriceKey, Price]] = before.classes
    if after.classes:
        classes = {n: {**before.classes.get(n, {}), **new} for n, new in after.classes.items()}
    return PriceTable(prices={**before.prices, **after.prices}, classes=classes)


def _carry_tier(before: ServiceTier | None, after: ServiceTier, *, factors: bool) -> ServiceTier:
    if before is None or not (after.table.prices or after.table.classes):
        return after
    multiplier = before.multiplier if factors and after.multiplier is None else after.multiplier
    return ServiceTier(multiplier=multiplier, table=_carry_table(before.table, after.table))


def _patterns(table: Table) -> tuple[str, ...]:
    return table.texts("match") or ()


def _classes(table: Table, terms: Terms) -> dict[int, Mapping[PriceKey, Price]]:
    """Read ``long_context``: a table with ``above`` and token prices, or a list of them."""
    classes: dict[int, Mapping[PriceKey, Price]] = {}
    for row in table.tables("long_context", single=True):
        row.only(("above", *TOKEN_KEYS))
        above = row.integer("above", low=1, high=TOKENS_MAX)
        prices = read_prices(row, terms, TOKEN_KEYS)
        if "above" not in row:
            row.problems.add(row.path, "needs above: the input tokens over which it holds")
        if above in classes:
            row.refuse("above", "is the threshold of another class, too")
        if above is not None:
            classes[above] = prices
    return classes


def _tiers(table: Table, terms: Terms) -> dict[str, ServiceTier]:
    """Read ``service_tiers``: by name a multiplier, or a table of own prices."""
    outer = table.table("service_tiers")
    if outer is None:
        return {}
    tiers = {}
    for name, value in outer.values.items():
        canonical = canonical_tier(name)
        if canonical != name or canonical == DEFAULT_TIER:
            outer.refuse(name, f"is billed as {canonical!r}: write its prices there")
        if isinstance(value, dict):
            inner = Table(value, (*outer.path, name), outer.problems)
            tiers[name] = _tier(inner, terms)
        else:
            factor = outer.decimal(name, low=ZERO, high=FACTOR_MAX, above=True)
            tiers[name] = ServiceTier(multiplier=factor)
    return tiers


def _tier(table: Table, terms: Terms) -> ServiceTier:
    table.only((*PRICE_KEYS, "multiplier", "long_context"))
    own = PriceTable(prices=read_prices(table, terms), classes=_classes(table, terms))
    multiplier = table.decimal("multiplier", low=ZERO, high=FACTOR_MAX, above=True)
    return ServiceTier(multiplier=multiplier, table=own)


def _refuse_unknown_classes(table: Table, version: Version, known: Collection[int]) -> None:
    """A tier's class must be one of the model: requests are classed before their tier is known.

    They are classed by the thresholds of all versions, so it may be any version's.
    """
    for name, tier in version.tiers.items():
        for above in sorted(set(tier.table.classes) - set(known)):
            reason = f"above {above:_} is no class of the model itself: give it one first"
            path = (*table.path, "service_tiers", name, "long_context")
            table.problems.add(path, reason)
