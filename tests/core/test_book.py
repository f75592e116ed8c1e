"""Which price holds: types, classes, tiers, plans."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.core.book import PriceBook, Unpriced
from proxy.core.prices import canonical_tier, class_above, class_text
from proxy.core.usage import OUTPUT_TYPES, Metric, TokenType
from proxy.pricing import parse, parse_adopted
from tests.core.rows import END, START, book, cost, row

M = 1_000_000
D = Decimal


def price(prices: PriceBook, type_: str, **dimensions: str) -> Decimal | None:
    """Return what a million tokens cost."""
    found = cost(prices, [row(type_, M, **dimensions)])  # type: ignore[arg-type]
    return found or None


@pytest.mark.parametrize(
    ("keys", "type_", "charged_as"),
    [
        ("input", "cached_input", "input"),
        ("input", "cache_write", "input"),
        ("input", "cache_write_1h", "input"),
        ("input cache_write", "cache_write_1h", "cache_write"),
        ("input cache_write cache_write_1h", "cache_write_1h", "cache_write_1h"),
        ("input", "cache_write_12h", "input"),
        ("input cache_write", "cache_write_12h", "cache_write"),
        ("input", "input_audio", "input"),
        ("input", "cached_input_audio", "input"),
        ("input cached_input", "cached_input_audio", "cached_input"),
        ("input cached_input input_audio", "cached_input_audio", "input_audio"),
        ("input cached_input cached_input_audio", "cached_input_audio", "cached_input_audio"),
        ("input cached_input input_image", "cached_input_image", "input_image"),
        ("input cached_input", "cached_input_image", "cached_input"),
        ("input", "input_image", "input"),
        ("output", "output_audio", "output"),
        ("output", "output_image", "output"),
        ("output output_image", "output_image", "output_image"),
        ("input", "output", None),
        ("output", "input", None),
        ("input", "unheard_of", None),
    ],
)
def test_what_a_type_falls_back_to(keys: str, type_: str, charged_as: str | None) -> None:
    prices = book("\n".join(f"{key} = {n}" for n, key in enumerate(keys.split(), 1)))
    expected = keys.split().index(charged_as) + 1 if charged_as else None
    assert price(prices, type_) == expected


@pytest.mark.parametrize("type_", TokenType)
def test_no_type_is_free_where_input_and_output_have_prices(type_: TokenType) -> None:
    expected = 2 if type_ in OUTPUT_TYPES else 1
    assert price(book("input = 1\noutput = 2"), type_) == expected


LONG = """
input = 2.50
cached_input = 0.25
output = 15.00
long_context = { above = 272_000, input = 5.00, output = 22.50 }
service_tiers = { flex = 0.5, priority = { input = 12, output = 75 }, batch = { output = 9 }, \
mixed = { multiplier = 2, cached_input = 1, long_context = { above = 272_000, output = 50 } } }
"""


@pytest.mark.parametrize(
    ("type_", "tier", "context_class", "expected"),
    [
        ("input", "", "", "2.50"),
        ("input", "default", "above_272000", "5"),
        ("output", "", "above_272000", "22.5"),
        ("cached_input", "", "above_272000", "0.25"),  # left out: as below the threshold
        ("input", "", "above_300000", "5"),
        ("input", "", "above_200000", "2.5"),  # the class can't be told to apply
        ("input", "", "nonsense", "2.5"),
        ("input", "flex", "", "1.25"),
        ("output", "flex", "above_272000", "11.25"),
        ("input", "priority", "", "12"),
        ("input", "fast", "", "12"),
        ("input", "priority", "above_272000", "12"),  # replaced with its class
        ("cached_input", "priority", "", "0.25"),  # left out by the tier
        ("input", "batch", "above_272000", "5"),
        ("output", "batch", "above_272000", "9"),
        ("input", "scale", "", "2.5"),  # a tier that the file does not know
        ("input", "mixed", "above_272000", "10"),
        ("cached_input", "mixed", "", "1"),
        ("output", "mixed", "", "30"),
        ("output", "mixed", "above_272000", "50"),
    ],
)
def test_classes_and_tiers(type_: str, tier: str, context_class: str, expected: str) -> None:
    assert price(book(LONG), type_, tier=tier, context_class=context_class) == D(expected)


def test_a_multiplier_is_of_tokens() -> None:
    prices = book("requests = 1\nservice_tiers = { priority = 2 }")
    assert cost(prices, [row("exact", 1, metric=Metric.REQUESTS, tier="priority")]) == 1


@pytest.mark.parametrize(
    ("input_tokens", "expected"),
    [(0, ""), (272_000, ""), (272_001, "above_272000"), (10**9, "above_272000")],
)
def test_context_class(input_tokens: int, expected: str) -> None:
    prices = book(LONG)
    assert prices.context_class("m", "m", input_tokens) == expected
    assert prices.context_class("other", "m", input_tokens) == expected
    assert prices.context_class("other", None, input_tokens) == ""


def test_several_classes_and_versions_and_plans_have_thresholds() -> None:
    prices = parse("""
        [models.m]
        input = 1
        long_context = [{ above = 100, input = 2 }, { above = 200, input = 3 }]
        [[models.m.versions]]
        effective_from = 2026-11-16
        long_context = { above = 150, input = 4 }
        [plans.p]
        models.m.long_context = { above = 300, input = 5 }
        [plans.q]
        """)
    classes = [prices.context_class("m", None, n) for n in (100, 101, 151, 201, 301)]
    assert classes == ["", "above_100", "above_150", "above_200", "above_300"]
    costs = {c: price(prices, "input", context_class=c) for c in classes}
    assert list(costs.values()) == [1, 2, 2, 3, 3]
    assert price(prices, "input", context_class="above_300", plan="p") == 5
    later = [datetime(2026, 11, 20, tzinfo=UTC), END]
    after = {c: cost(prices, [row("input", M, context_class=c)], later) for c in classes}
    assert list(after.values()) == [1, 1, 4, 4, 4]


PLANS = """
[models.o1]
input = 15
cached_input = 7.5
output = 60
long_context = { above = 1000, output = 90 }
service_tiers = { flex = 0.5, priority = { output = 120 } }
[models.other]
input = 1
[plans.pro]
markup = 1.20
models.o1.output = 55.00
[plans.deal]
markup = 2
[plans.deal.models.o1]
input = 9
service_tiers = { flex = { input = 4 }, batch = 0.25 }
[[plans.deal.models.o1.versions]]
effective_from = 2026-11-16
input = 8
"""


@pytest.mark.parametrize(
    ("plan", "type_", "tier", "context_class", "expected"),
    [
        ("pro", "input", "", "", "18"),
        ("pro", "output", "", "", "55"),  # final: not marked up
        ("pro", "output", "", "above_1000", "55"),  # replaced with its class
        ("pro", "output", "flex", "", "27.5"),
        ("pro", "output", "priority", "", "55"),
        ("pro", "cached_input", "flex", "", "4.5"),
        ("deal", "input", "", "", "9"),
        ("deal", "input", "flex", "", "4"),
        ("deal", "input", "batch", "", "2.25"),
        ("deal", "output", "", "", "120"),
        ("deal", "output", "flex", "", "60"),
        ("deal", "output", "priority", "", "240"),
        ("default", "output", "", "", "60"),
        ("gone", "output", "", "", "60"),
    ],
)
def test_plans(plan: str, type_: str, tier: str, context_class: str, expected: str) -> None:
    found = price(
        parse(PLANS), type_, model="o1", plan=plan, tier=tier, context_class=context_class
    )
    assert found == D(expected)


def test_a_plans_own_prices_have_dates_too() -> None:
    prices = parse(PLANS)
    moment = datetime(2026, 11, 16, tzinfo=UTC)
    assert prices.boundaries(START, END) == [moment]
    assert prices.boundaries(moment, END) == []
    assert prices.boundaries(START, moment) == []
    assert cost(prices, [row("input", M, model="o1", plan="deal")], [moment, END]) == 8
    model = prices.entry("o1", None)
    assert model is not None
    quote = prices.quote(model, Metric.TOKENS, "input", plan="deal", at=moment)
    assert quote is not None
    assert (quote.effective_from, quote.source, quote.markup) == (moment, "plan", 1)


TERMS = """
[models.gpt-4]
package_size = 1_000
rounding = "up"
output = 0.06
[[models.gpt-4.versions]]
effective_from = 2026-11-16
output = 0.05
[plans.pro]
models.gpt-4.output = 0.055
[plans.big.models.gpt-4]
package_size = 1_000_000
output = 55
service_tiers = { flex = { output = 30 } }
[plans.exact.models.gpt-4]
rounding = "none"
output = 0.055
[[plans.exact.models.gpt-4.versions]]
effective_from = 2026-11-16
output = 0.045
"""


@pytest.mark.parametrize(
    ("plan", "tier", "before", "after"),
    [
        ("default", "", "0.12", "0.10"),
        ("pro", "", "0.110", "0.110"),
        ("big", "", "55", "55"),
        ("big", "flex", "30", "30"),
        ("exact", "", "0.0825", "0.0675"),
    ],
)
def test_a_plans_own_prices_are_for_the_packages_of_the_model(
    plan: str, tier: str, before: str, after: str
) -> None:
    prices = parse(TERMS)
    used = [row("output", 1_500, model="gpt-4", plan=plan, tier=tier)]
    assert cost(prices, used) == D(before)
    assert cost(prices, used, [datetime(2026, 11, 16, tzinfo=UTC), END]) == D(after)


def test_a_book_that_was_adopted_is_read_as_it_was_then() -> None:
    used = [row("output", 1_500, model="gpt-4", plan="pro")]
    assert cost(parse_adopted(TERMS, 1), used) == D("0.0000825")


def test_plan_of_a_book_without_any() -> None:
    assert PriceBook().plan("x").code == "default"
    assert PriceBook().unpriced is Unpriced.FLAG


def test_reported_name_before_requested() -> None:
    prices = parse("[models.a]\ninput = 1\n[models.b]\ninput = 2")
    assert [m and m.name for m in (prices.entry("a", "b"), prices.entry("x", "b"))] == ["a", "b"]
    assert prices.entry("x", "y") is None
    assert prices.entry(None, None) is None


def test_nearest_names() -> None:
    prices = parse(
        '[models."gpt-4o"]\nmatch = ["gpt-4o-2024-*"]\ninput = 1\n[models.o1]\ninput = 1'
    )
    assert prices.nearest("gpt4o")[0] == "gpt-4o"
    assert prices.nearest("zzz") == []


def test_allowed_models() -> None:
    prices = parse("""
        [models."gpt-4o"]
        match = ["gpt-4o-2024-*", "omni"]
        input = 1
        [models."gpt-4o-mini"]
        input = 1
        [models.o1]
        input = 1
        [plans.small]
        allowed_models = ["gpt-4o-m*", "o1"]
        [plans.one]
        allowed_models = ["gpt-4o"]
        [plans.none]
        allowed_models = []
        """)
    asked = ["gpt-4o", "gpt-4o-2024-08-06", "omni", "gpt-4o-mini", "o1", "unknown"]
    allowed = {p: [m for m in asked if prices.allows(p, m)] for p in prices.plans}
    assert allowed == {
        "default": asked,
        "small": ["gpt-4o-mini", "o1"],
        "one": ["gpt-4o", "gpt-4o-2024-08-06", "omni"],
        "none": [],
    }
    assert prices.plan("default").allows("anything", None)


def test_tiers_and_classes_as_text() -> None:
    tiers = [canonical_tier(t) for t in (None, "", "auto", "default", "standard", "fast", "flex")]
    assert tiers == ["default"] * 5 + ["priority", "flex"]
    assert (class_text(272_000), class_text(0)) == ("above_272000", "")
    assert [class_above(c) for c in ("above_272000", "", "above_²", "above_-1")] == [
        272_000,
        0,
        0,
        0,
    ]
