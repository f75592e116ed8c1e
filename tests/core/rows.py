"""Price books and sums, as short as a table of tests wants them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from proxy.core.book import PriceBook
from proxy.core.money import total
from proxy.core.rating import Line, rate
from proxy.core.series import SeriesSum
from proxy.core.usage import Metric
from proxy.pricing import parse

START = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)


def row(
    type_: str,
    quantity: int,
    *,
    model: str = "m",
    requested: str = "",
    metric: Metric = Metric.TOKENS,
    window: int = 0,
    segment: int = 1,
    plan: str = "default",
    tier: str = "",
    context_class: str = "",
    source: str = "exact",
) -> SeriesSum:
    return SeriesSum(
        window=window,
        segment_id=segment,
        plan=plan,
        metric=metric,
        type=type_,
        model=model,
        model_requested=requested or model,
        service_tier=tier,
        context_class=context_class,
        source=source,
        quantity=quantity,
    )


def book(prices: str, top: str = "") -> PriceBook:
    """Parse a book with one model, ``m``."""
    return parse(f"{top}\n[models.m]\n{prices}")


def rated(
    prices: PriceBook, rows: Sequence[SeriesSum], bounds: Sequence[datetime] = (START, END)
) -> tuple[Line, ...]:
    return rate(prices, rows, bounds)


def cost(
    prices: PriceBook, rows: Sequence[SeriesSum], bounds: Sequence[datetime] = (START, END)
) -> Decimal:
    return total([line.amount for line in rated(prices, rows, bounds) if line.amount is not None])
