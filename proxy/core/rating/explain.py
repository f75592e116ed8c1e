"""Why an amount is what it is: the rules of :mod:`proxy.core.rating.order`, step by step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from proxy.core.book import PriceBook, Quote
from proxy.core.matching import Match
from proxy.core.money import decimal_text, exact, ratio, total
from proxy.core.periods import utc_text
from proxy.core.prices import Price, canonical_tier, class_above, class_text
from proxy.core.rating.order import Line, PoolKey, pool_key, share
from proxy.core.rating.package import started_packages
from proxy.core.rating.standard import paid_units, standard
from proxy.core.rating.volume import reached
from proxy.core.units import shown_units, unit_name
from proxy.core.usage import Metric, Quantity, RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule as applied: ``rule`` is its name, ``result`` what came of it, ``because`` why."""

    rule: str
    result: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedQuantity:
    """One quantity of the request, the steps to its amount, and the amount (None: unpriced)."""

    quantity: Quantity
    steps: tuple[Step, ...]
    amount: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A request's amount: the precise sum of its quantities'."""

    quantities: tuple[ExplainedQuantity, ...]
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedRequest:
    """What rating needs to know of one request; ``at`` is when it was accepted (aware UTC)."""

    segment_id: int
    plan: str
    at: datetime
    model: str
    model_requested: str
    service_tier: str = ""
    context_class: str = ""
    quantities: Sequence[Quantity]


def explain(
    book: PriceBook,
    request: PricedRequest,
    pools: Mapping[PoolKey, int] | None = None,
    late: Sequence[Line] = (),
) -> Explanation:
    """Rate one request and say how.

    ``pools`` are the period's pools as they stand (:func:`pool_quantities`), of which the request
    is a part; without them it is rated as if it were alone. ``late`` are the lines of the
    adjustment that charges the request, if it came after its period was closed. The amounts of a
    line's requests add up to the line, to within the last of 30 decimal places; only what late
    usage divides anew (:data:`proxy.core.adjustments.DIVIDED_ANEW`) is no request's.
    """
    with exact():
        parts = tuple(_explain_one(book, request, q, pools or {}, late) for q in request.quantities)
    amounts = [part.amount for part in parts if part.amount is not None]
    return Explanation(quantities=parts, amount=total(amounts))


def _explain_one(
    book: PriceBook,
    request: PricedRequest,
    quantity: Quantity,
    pools: Mapping[PoolKey, int],
    late: Sequence[Line],
) -> ExplainedQuantity:
    if quantity.metric is Metric.REQUESTS and quantity.type == RequestState.FAILED:
        step = Step(rule="match", result="not billed", because="the request failed")
        return ExplainedQuantity(quantity=quantity, steps=(step,), amount=None)
    found = book.match(request.model, request.model_requested)
    if found is None:
        names = " nor ".join({repr(request.model): 0, repr(request.model_requested): 0})
        step = Step(rule="match", result="unpriced", because=f"no entry matches {names}")
        return ExplainedQuantity(quantity=quantity, steps=(step,), amount=None)
    above = class_above(request.context_class)
    quote = book.quote(
        found.model, quantity.metric, quantity.type,
        plan=request.plan, at=request.at, service_tier=request.service_tier, above=above,
    )  # fmt: skip
    matched = _match_step(book, found, request)
    if quote is None:
        what = f"{quantity.metric} {quantity.type}".strip()
        because = f"{found.model.name} has no price for {what} at {utc_text(request.at)}"
        step = Step(rule="version", result="unpriced", because=because)
        return ExplainedQuantity(quantity=quantity, steps=(matched, step), amount=None)
    pool = pools.get(pool_key(request.segment_id, quote, above), quantity.quantity)
    price, units = quote.price, quantity.quantity
    amount = share(price, units, pool) if price.pooled else standard(price, units)
    steps = [
        matched,
        *_price_steps(quote, quantity, request),
        *_amount_steps(quantity.metric, price, units, pool),
    ]
    charged = _late_charge(late, request, quantity, quote) if price.pooled and units else None
    if charged is not None:
        amount = ratio(charged[0] * units, charged[1])
        steps.append(_late_step(quantity.metric, *charged))
    because = "precise; only totals are rounded"
    last = Step(rule="amount", result=decimal_text(amount), because=because)
    return ExplainedQuantity(quantity=quantity, steps=(*steps, last), amount=amount)


def _late_charge(
    lines: Sequence[Line], request: PricedRequest, quantity: Quantity, quote: Quote
) -> tuple[Decimal, int] | None:
    """Return the amount and the quantity of the adjustment's line that a quantity is on."""
    wanted = (
        request.plan, quantity.metric, request.model or request.model_requested,
        "" if quantity.metric is Metric.REQUESTS else quantity.type,
        canonical_tier(request.service_tier), request.context_class,
        quote.effective_from, quote.price,
    )  # fmt: skip
    for line in lines:
        known = (
            line.plan, line.metric, line.model, line.type, line.service_tier, line.context_class,
            line.effective_from, line.price,
        )  # fmt: skip
        if known == wanted and line.amount is not None and line.quantity:
            return line.amount, line.quantity
    return None


def _late_step(metric: Metric, amount: Decimal, units: int) -> Step:
    shown = f"{shown_units(metric, units)} {unit_name(metric)}"
    because = "it came late: charged is what its line grows by, beyond what was billed"
    return Step(rule="late", result=f"{decimal_text(amount, 2)} for {shown}", because=because)


def _match_step(book: PriceBook, found: Match, request: PricedRequest) -> Step:
    reported = book.match(request.model, None) is not None
    name = f"reported {request.model!r}" if reported else f"requested {request.model_requested!r}"
    because = f"{name} is its {found.by}"
    if found.by == "glob":
        because = f"{name} fits its glob {found.pattern!r}"
    return Step(rule="match", result=found.model.name, because=because)


def _price_steps(quote: Quote, quantity: Quantity, request: PricedRequest) -> Iterator[Step]:
    since = quote.effective_from
    yield Step(
        rule="version",
        result=f"from {utc_text(since)}" if since else "from the beginning",
        because=f"accepted at {utc_text(request.at)}",
    )
    if quote.key[1] != quantity.type and quantity.metric is Metric.TOKENS:
        because = f"{quantity.type} has no price of its own"
        yield Step(rule="type", result=f"charged as {quote.key[1]}", because=because)
    if request.context_class:
        result = class_text(quote.above) or "no price of its own for the class"
        yield Step(rule="class", result=result, because=f"settled as {request.context_class}")
    tier = quote.service_tier
    if quote.multiplier != 1:
        tier = f"{tier}: {quote.multiplier} times the price"
    because = f"the answer said {request.service_tier or 'none'!r}"
    yield Step(rule="tier", result=tier, because=because)
    listed = _price_text(quantity.metric, quote.listed)
    yield Step(rule="price", result=listed, because=f"by the table of: {quote.source}")
    if quote.markup != 1:
        because = f"plan {request.plan} marks up by {quote.markup}"
        yield Step(rule="markup", result=_price_text(quantity.metric, quote.price), because=because)


def _amount_steps(metric: Metric, price: Price, units: int, pool: int) -> Iterator[Step]:
    name = unit_name(metric)

    def shown(quantity: int) -> int | str:
        return shown_units(metric, quantity)

    if not price.pooled:
        because = f"{shown(units)} {name}, each its part of the price"
        yield Step(rule="rule", result="standard", because=because)
        return
    because = "free units, packages and tiers see the period's whole quantity"
    yield Step(rule="pool", result=f"{shown(units)} of {shown(pool)} {name}", because=because)
    paid = paid_units(price, pool)
    if price.free_units:
        because = f"{shown(price.free_units)} are free"
        yield Step(rule="free units", result=f"{shown(paid)} paid", because=because)
    if price.whole_packages:
        packages = started_packages(paid, price.package_size)
        because = f"every started {shown(price.package_size)} is charged whole"
        yield Step(rule="rounding", result=f"{packages} packages", because=because)
        paid = packages * price.package_size
    because = "by the tiers" if price.tiers else "by the price"
    if price.charge_model == "volume":
        reaching = decimal_text(reached(price, paid).price)
        because = f"{shown(paid)} {name} reach the price {reaching}"
    whole = decimal_text(share(price, pool, pool))
    yield Step(rule="rule", result=f"{price.charge_model}: {whole} for the pool", because=because)


def _price_text(metric: Metric, price: Price) -> str:
    per = str(shown_units(metric, price.package_size))
    if metric is Metric.AUDIO_SECONDS:
        per += " seconds"
    if price.price is not None:
        return f"{decimal_text(price.price)} per {per}"
    tiers = (
        f"{decimal_text(tier.price)} up to "
        + ("any" if tier.up_to is None else str(shown_units(metric, tier.up_to)))
        for tier in price.tiers
    )
    return f"{', '.join(tiers)}, per {per}"
