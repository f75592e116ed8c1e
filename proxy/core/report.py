"""Current usage: a subscription's open period, rated, with what is known of its completeness."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from proxy.core.adjustments import DIVIDED_ANEW, Adjustment
from proxy.core.book import PriceBook
from proxy.core.money import decimal_text, half_up, minor_digits, total
from proxy.core.periods import Period, utc_text
from proxy.core.prices import Price
from proxy.core.rating.order import Line, rate
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Subscription
from proxy.core.units import shown_units
from proxy.core.usage import ATOMS_PER_SECOND, Metric, RequestState

COUNTED = (
    RequestState.EXACT,
    RequestState.ESTIMATED,
    RequestState.PARTIAL,
    RequestState.ABANDONED,
    RequestState.FAILED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How many requests the figures rest on, by state, and what is not in the amounts.

    ``states`` counts the settled requests of the period; ``open`` and ``deferred`` still run.
    ``unpriced`` is 0 if and only if every line has an amount (:func:`count_unpriced`).
    """

    states: Mapping[RequestState, int]
    open: int
    deferred: int
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentUsage:
    """A rated period. ``precise`` is the exact sum; ``amount`` it, rounded half up once.

    ``adjustments`` are charged here for periods that are closed.
    """

    subscription: Subscription
    currency: str
    period: Period
    lines: tuple[Line, ...]
    precise: Decimal
    completeness: Completeness
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def amount(self) -> Decimal:
        """The total in whole cents (or the currency's smallest unit)."""
        return half_up(self.precise, minor_digits(self.currency))


def current_usage(
    book: PriceBook,
    *,
    subscription: Subscription,
    period: Period,
    bounds: Sequence[datetime],
    sums: Sequence[SeriesSum],
    open_requests: int = 0,
    deferred_requests: int = 0,
    adjustments: tuple[Adjustment, ...] = (),
) -> CurrentUsage:
    """Rate a period's sums and count its requests.

    ``bounds`` are :func:`proxy.core.rating.windows` of the period, ``sums`` what the ledger
    answered for them.
    """
    lines = rate(book, sums, bounds)
    charged = [line.amount for line in lines if line.amount is not None]
    return CurrentUsage(
        subscription=subscription,
        currency=book.currency,
        period=period,
        lines=lines,
        precise=total([*charged, *(adjustment.precise for adjustment in adjustments)]),
        completeness=Completeness(
            states=count_states(sums),
            open=open_requests,
            deferred=deferred_requests,
            unpriced=count_unpriced(lines, sums)
            + sum(count_unpriced(each.lines, each.late) for each in adjustments),
        ),
        adjustments=adjustments,
    )


def count_states(sums: Iterable[SeriesSum]) -> dict[RequestState, int]:
    """Count settled requests by state: the ``requests`` series count themselves."""
    counts = dict.fromkeys(COUNTED, 0)
    for row in sums:
        if row.metric is Metric.REQUESTS and row.type in counts:
            counts[RequestState(row.type)] += row.quantity
    return counts


def count_unpriced(lines: Iterable[Line], sums: Iterable[SeriesSum]) -> int:
    """Count the requests that used, or may have used, what has no price.

    These are all requests of a plan, model and context class that has an unpriced line: where a
    model has prices for some types only, sums can't tell which requests used what. Usage with a
    model or class other than its request's (a transcription, an image tool, an advisor, lines of
    a batch) can't be told back to its requests either: it counts as one for each such plan, model
    and class, the fewest that there can be. So there is never an unpriced line and none counted.
    """
    unpriced = {
        (line.plan, line.model, line.context_class): 0 for line in lines if line.amount is None
    }
    for row in sums:
        kind = row.plan, row.model or row.model_requested, row.context_class
        if kind in unpriced and row.metric is Metric.REQUESTS and row.type != RequestState.FAILED:
            unpriced[kind] += row.quantity
    return sum(count or 1 for count in unpriced.values())


def render(usage: CurrentUsage, budget: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON object of ``GET /usage/current``.

    ``budget`` is where the subscription's limits stand, as shown (None: it has none).
    Token quantities are integers, money is decimal strings; ``audio_seconds`` are decimal
    strings, too. What only some lines have (class, version, plan, tiers) is left out of others.
    """
    digits = minor_digits(usage.currency)
    return {
        "customer": usage.subscription.customer.external_id,
        "subscription": usage.subscription.external_id,
        "plan": usage.subscription.plan,
        "currency": usage.currency,
        "period": render_period(usage.period),
        "lines": [
            render_line(line, usage.subscription.plan, adjustment)
            for line, adjustment in all_lines(usage)
        ],
        "total": {
            "amount": decimal_text(usage.amount, digits),
            "precise_amount": decimal_text(usage.precise, digits),
        },
        "completeness": render_completeness(usage.completeness),
        "budget": budget,
    }


def render_completeness(completeness: Completeness) -> dict[str, int]:
    """Return the counts of requests as JSON."""
    return {
        **{state.value: completeness.states[state] for state in COUNTED},
        "open": completeness.open,
        "deferred": completeness.deferred,
        "unpriced": completeness.unpriced,
    }


def render_period(period: Period) -> dict[str, str]:
    """Return a period as JSON."""
    return {
        "start": utc_text(period.start),
        "end": utc_text(period.end),
        "timezone": period.timezone,
    }


def all_lines(usage: CurrentUsage) -> Iterator[tuple[Line, Adjustment | None]]:
    """Yield the period's lines, then those that adjust closed periods, each with which one."""
    yield from ((line, None) for line in usage.lines)
    for adjustment in usage.adjustments:
        yield from ((line, adjustment) for line in adjustment.lines)


def render_line(line: Line, plan: str, adjusts: Adjustment | None = None) -> dict[str, Any]:
    """Return a line as JSON; ``plan`` is the subscription's now, named where it differs."""
    rendered: dict[str, Any] = {
        "metric": line.metric.value,
        "model": line.model,
        "type": line.type,
        "quantity": shown_units(line.metric, line.quantity),
        "priced_as": line.priced_as,
        "charge_model": line.price and line.price.charge_model.value,
        "unit_price": None,
        "package_size": None,
        "service_tier": line.service_tier,
        "amount": None if line.amount is None else decimal_text(line.amount, 2),
    }
    if line.price is not None:
        rendered |= _render_price(line.metric, line.price)
    if line.context_class:
        rendered["context_class"] = line.context_class
    if line.effective_from is not None:
        rendered["effective_from"] = utc_text(line.effective_from)
    if line.plan != plan:
        rendered["plan"] = line.plan
    if adjusts is not None:
        rendered["adjusts"] = {"number": adjusts.number, "period": render_period(adjusts.period)}
        if not line.quantity:
            rendered["note"] = DIVIDED_ANEW
    return rendered


def _render_price(metric: Metric, price: Price) -> dict[str, Any]:
    """Return what a line says of its price; a tiered one has tiers and no unit price."""
    seconds = metric is Metric.AUDIO_SECONDS
    rendered: dict[str, Any] = {
        "unit_price": None if price.price is None else decimal_text(price.price, 2),
        "package_size": price.package_size // ATOMS_PER_SECOND if seconds else price.package_size,
    }
    if price.free_units:
        rendered["free_units"] = shown_units(metric, price.free_units)
    if price.tiers:
        rendered["tiers"] = [
            {
                "up_to": None if tier.up_to is None else shown_units(metric, tier.up_to),
                "price": decimal_text(tier.price, 2),
            }
            for tier in price.tiers
        ]
    return rendered
