"""What must hold for any usage and any prices."""

from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.book import PriceBook
from proxy.core.invoices import invoice
from proxy.core.money import ZERO, apportion, half_up, total
from proxy.core.plans import Plan
from proxy.core.prices import ChargeModel, History, ModelPrices, Price, PriceTable, Tier, Version
from proxy.core.rating import PricedRequest, explain, pool_quantities, rate
from proxy.core.series import SeriesSum
from proxy.core.usage import Metric, Quantity
from tests.core.rows import END, START, row
from tests.core.test_report import usage

money = st.decimals(min_value=0, max_value=1000, places=4, allow_nan=False)
quantities = st.integers(0, 10**12)
LEEWAY = Decimal("1E-25")


@st.composite
def prices(draw: st.DrawFn, *, pooled: bool | None = None) -> Price:
    """Draw a price of any charge model; without ``pooled`` of all, with False of additive ones."""
    size = draw(st.sampled_from([1, 100, 1_000, 1_000_000]))
    if pooled is False:
        return Price(price=draw(money), package_size=size)
    size = draw(st.sampled_from([size, 7]))
    mode = draw(st.sampled_from([None, None, ChargeModel.GRADUATED, ChargeModel.VOLUME]))
    up = draw(st.booleans())
    if mode is None:
        free = draw(st.sampled_from([0, 50, 10**6]))
        return Price(price=draw(money), package_size=size, free_units=free, whole_packages=up)
    bounds = sorted(draw(st.sets(st.integers(1, 10**9), max_size=3)))
    tiers = tuple(Tier(up_to=b, price=draw(money)) for b in (*bounds, None))
    return Price(price=None, package_size=size, whole_packages=up, mode=mode, tiers=tiers)


def book_of(first: Price, second: Price) -> PriceBook:
    tables = [PriceTable(prices={(Metric.TOKENS, "input"): p}) for p in (first, second)]
    versions = (
        Version(effective_from=None, table=tables[0]),
        Version(effective_from=MIDDLE, table=tables[1]),
    )
    model = ModelPrices(name="m", match=("m-*",), history=History(versions=versions))
    return PriceBook(models={"m": model}, plans={"pro": Plan(code="pro", markup=Decimal("1.2"))})


MIDDLE = START + (END - START) / 2
BOUNDS = [START, MIDDLE, END]

rows = st.builds(
    row,
    st.sampled_from(["input", "cached_input"]),
    quantities,
    model=st.sampled_from(["m", "m-1", "m-2"]),
    window=st.sampled_from([0, 1]),
    segment=st.sampled_from([1, 2]),
    plan=st.sampled_from(["default", "pro"]),
    source=st.sampled_from(["exact", "estimated"]),
)


def amount_of(book: PriceBook, sums: list[SeriesSum]) -> Decimal:
    return total([line.amount for line in rate(book, sums, BOUNDS) if line.amount is not None])


@given(prices(pooled=False), prices(pooled=False), st.lists(rows, max_size=12), st.data())
def test_exact_rating_is_additive_over_any_partition(
    first: Price, second: Price, sums: list[SeriesSum], data: st.DataObject
) -> None:
    book = book_of(first, second)
    sides = data.draw(st.lists(st.booleans(), min_size=len(sums), max_size=len(sums)))
    one = [s for s, left in zip(sums, sides, strict=True) if left]
    two = [s for s, left in zip(sums, sides, strict=True) if not left]
    assert total([amount_of(book, one), amount_of(book, two)]) == amount_of(book, sums)


@given(prices(), prices(), st.lists(rows, max_size=12))
def test_amounts_are_never_negative_and_no_quantity_is_lost(
    first: Price, second: Price, sums: list[SeriesSum]
) -> None:
    lines = rate(book_of(first, second), sums, BOUNDS)
    amounts = [line.amount for line in lines if line.amount is not None]
    assert len(amounts) == len(lines)
    assert all(amount >= 0 for amount in amounts)
    assert sum(line.quantity for line in lines) == sum(s.quantity for s in sums)


@given(prices(), prices(), st.lists(rows, max_size=12))
def test_no_cent_is_lost_between_lines_and_total(
    first: Price, second: Price, sums: list[SeriesSum]
) -> None:
    amounts = [line.amount or Decimal(0) for line in rate(book_of(first, second), sums, BOUNDS)]
    whole = half_up(total(amounts), 2)
    cents = apportion(amounts, whole, 2)
    assert total(cents) == whole
    assert all(cent >= 0 for cent in cents)


@given(st.lists(st.integers(0, 10**9), max_size=8))
def test_invoice_lines_add_up_to_the_rounded_precise_sum(parts: list[int]) -> None:
    report = usage(*(row("input", q, model=f"gpt-4o-2024-{n}") for n, q in enumerate(parts)))
    bill = invoice(report)
    assert total([line.amount for line in bill.lines]) == bill.total == half_up(report.precise, 2)


@given(prices(), prices(), st.lists(rows, max_size=12), st.randoms())
def test_rating_does_not_depend_on_the_order_of_sums(
    first: Price, second: Price, sums: list[SeriesSum], random: Random
) -> None:
    book = book_of(first, second)
    shuffled = list(sums)
    random.shuffle(shuffled)
    one, two = rate(book, sums, BOUNDS), rate(book, shuffled, BOUNDS)
    for line, other in zip(one, two, strict=True):
        assert line.quantity == other.quantity
        assert abs((line.amount or ZERO) - (other.amount or ZERO)) <= LEEWAY


@settings(max_examples=60)
@given(prices(), prices(), st.lists(rows, min_size=1, max_size=12))
def test_explanations_of_requests_add_up_to_the_lines(
    first: Price, second: Price, sums: list[SeriesSum]
) -> None:
    book = book_of(first, second)
    pools = pool_quantities(book, sums, BOUNDS)
    explained = [
        explain(
            book,
            PricedRequest(
                segment_id=s.segment_id,
                plan=s.plan,
                at=BOUNDS[s.window],
                model=s.model,
                model_requested=s.model_requested,
                quantities=[Quantity(metric=s.metric, type=s.type, quantity=s.quantity)],
            ),
            pools,
        ).amount
        for s in sums
    ]
    lines = amount_of(book, sums)
    assert abs(total(explained) - lines) <= LEEWAY
