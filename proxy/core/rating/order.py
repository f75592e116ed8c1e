"""The order of rules, and the rating of a period by them.

1. *Match*: the reported name, else the requested one, leads to an entry of the price book.
2. *Version*: the one in force when the usage was accepted; usage is never repriced by a later one.
3. *Class, tier, plan*: :mod:`proxy.core.book` finds the price, times multiplier and markup.
   First, because free units, packages and tiers are part of the price that was found.
4. *Pool*: free units, packages and tiers see the whole period's quantity of one
   (segment, entry, priced type, service tier, context class). A type without a price of its own
   is charged as another, so it shares that one's pool.
5. *Round up*: with whole packages, a tiered quantity is rounded up to them before its tiers.
6. *Rule*: one of the four charge models turns the pool's quantity into an amount.
7. *Share*: each version rates the whole pool and charges its part of the quantity; so do the
   lines of one version. Prices that need no pool skip 4 to 7: their amounts are additive.
8. *Total*: the precise sum, rounded half up once; that is the report's business.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from proxy.core.book import PriceBook, Quote
from proxy.core.money import ZERO, exact, ratio
from proxy.core.periods import Period
from proxy.core.prices import ChargeModel, Price, canonical_tier, class_above
from proxy.core.rating.graduated import graduated
from proxy.core.rating.package import package, started_packages
from proxy.core.rating.standard import standard
from proxy.core.rating.volume import volume
from proxy.core.series import SeriesSum
from proxy.core.usage import Metric, RequestState

_RULES: dict[ChargeModel, Callable[[Price, int], Decimal]] = {
    ChargeModel.STANDARD: standard,
    ChargeModel.PACKAGE: package,
    ChargeModel.GRADUATED: graduated,
    ChargeModel.VOLUME: volume,
}
_METRICS = {metric: rank for rank, metric in enumerate(Metric)}


class PoolKey(NamedTuple):
    """What shares free units, packages and tiers within a period."""

    segment_id: int
    priced_as: str
    metric: Metric
    type: str
    service_tier: str
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So much of one type, priced alike: the unit of reports and invoices.

    ``quantity`` is in the units of :class:`proxy.core.usage.Quantity`. ``price`` is what the
    customer pays for ``price.package_size`` units. ``priced_as``, ``price`` and ``amount`` are
    None where the book has no price.
    """

    plan: str
    metric: Metric
    model: str
    type: str
    service_tier: str
    context_class: str
    quantity: int
    priced_as: str | None
    effective_from: datetime | None
    price: Price | None
    amount: Decimal | None


class _LineKey(NamedTuple):
    plan: str
    metric: Metric
    model: str
    type: str
    service_tier: str
    context_class: str
    priced_as: str | None
    effective_from: datetime | None
    price: Price | None


class _Part(NamedTuple):
    """A sum with its price."""

    key: _LineKey
    pool: PoolKey | None
    quantity: int


def windows(book: PriceBook, period: Period) -> list[datetime]:
    """Return the bounds between which a period's sums are wanted: one window a price version."""
    return [period.start, *book.boundaries(period.start, period.end), period.end]


def amount(price: Price, quantity: int) -> Decimal:
    """Rate a whole pool's quantity (steps 5 and 6)."""
    if price.whole_packages and price.mode is not None:
        quantity = started_packages(quantity, price.package_size) * price.package_size
    return _RULES[price.charge_model](price, quantity)


def share(price: Price, part: int, pool: int) -> Decimal:
    """Return the amount of a part of a pool (step 7)."""
    return ratio(amount(price, pool) * part, pool) if pool else ZERO


def rate(
    book: PriceBook, sums: Iterable[SeriesSum], bounds: Sequence[datetime]
) -> tuple[Line, ...]:
    """Rate a period's sums.

    ``bounds`` are what the sums were asked for with (:func:`windows`): ``bounds[row.window]`` is
    the beginning of a row's window, and no price changes within it. Failed requests and requests
    without a price are no lines; other usage without a price is a line without amount.
    """
    with exact():
        parts = _parts(book, sums, bounds)
        pools = _pools(parts)
        quantities: defaultdict[_LineKey, int] = defaultdict(int)
        amounts: defaultdict[_LineKey, Decimal] = defaultdict(Decimal)
        charged: defaultdict[tuple[PoolKey, Price], int] = defaultdict(int)
        for key, pool, quantity in parts:
            quantities[key] += quantity
            if pool is None or key.price is None:
                continue
            if not key.price.pooled:
                amounts[key] += standard(key.price, quantity)
                continue
            # The difference of two shares, so that parts always add up to the whole.
            before = charged[pool, key.price]
            after = charged[pool, key.price] = before + quantity
            amounts[key] += share(key.price, after, pools[pool])
            amounts[key] -= share(key.price, before, pools[pool])
    return tuple(
        Line(
            **key._asdict(),
            quantity=quantities[key],
            amount=None if key.price is None else amounts[key],
        )
        for key in sorted(quantities, key=_rank)
    )


def pool_quantities(
    book: PriceBook, sums: Iterable[SeriesSum], bounds: Sequence[datetime]
) -> dict[PoolKey, int]:
    """Return the quantity of every pool: what :func:`explain` needs to tell a request's share."""
    return _pools(_parts(book, sums, bounds))


def pool_key(segment_id: int, quote: Quote, above: int) -> PoolKey:
    """Name the pool of usage with this price."""
    metric, type_ = quote.key
    return PoolKey(segment_id, quote.priced_as, metric, type_, quote.service_tier, above)


def _pools(parts: Iterable[_Part]) -> dict[PoolKey, int]:
    pools: defaultdict[PoolKey, int] = defaultdict(int)
    for part in parts:
        if part.pool is not None:
            pools[part.pool] += part.quantity
    return pools


def _parts(book: PriceBook, sums: Iterable[SeriesSum], bounds: Sequence[datetime]) -> list[_Part]:
    parts = (_part(book, row, bounds[row.window]) for row in sums if row.quantity)
    return [part for part in parts if part is not None]


def _part(book: PriceBook, row: SeriesSum, at: datetime) -> _Part | None:
    requests = row.metric is Metric.REQUESTS
    if requests and row.type == RequestState.FAILED:
        return None
    model = book.entry(row.model, row.model_requested)
    above = class_above(row.context_class)
    quote = None
    if model is not None:
        quote = book.quote(
            model, row.metric, row.type,
            plan=row.plan, at=at, service_tier=row.service_tier, above=above,
        )  # fmt: skip
    if requests and quote is None:
        return None
    key = _LineKey(
        plan=row.plan,
        metric=row.metric,
        model=row.model or row.model_requested,
        type="" if requests else row.type,
        service_tier=canonical_tier(row.service_tier),
        context_class=row.context_class,
        priced_as=quote.priced_as if quote else None,
        effective_from=quote.effective_from if quote else None,
        price=quote.price if quote else None,
    )
    return _Part(key, pool_key(row.segment_id, quote, above) if quote else None, row.quantity)


def _rank(key: _LineKey) -> tuple[object, ...]:
    since = key.effective_from
    return (
        _METRICS[key.metric], key.model, key.type, key.service_tier, key.context_class,
        key.plan, since.timestamp() if since else 0.0, key.priced_as or "",
    )  # fmt: skip
