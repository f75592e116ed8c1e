"""Every charge model against figures worked out by hand from Lago's and Flexprice's rules."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.core.periods import Period
from proxy.core.rating import windows
from proxy.core.usage import Metric
from tests.core.rows import END, START, book, cost, rated, row

M = 1_000_000
D = Decimal

GRADUATED = """{ mode = 'graduated', package_size = 1, tiers = [
    { up_to = 10, price = 5 }, { up_to = 20, price = 3 }, { price = 1 }] }"""
VOLUME = "{ mode = 'volume', package_size = 1, tiers = [{ up_to = 10, price = 5 }, { price = 3 }] }"
DESIGNS = """{ mode = "graduated", tiers = [
    { up_to = 10_000_000, price = 10.00 }, { price = 8.00 }] }"""


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [
        # standard: every unit its part of the price
        ("15.00", 5 * M, "75"),
        ("15.00", 1, "0.000015"),
        ("0", 10**12, "0"),
        ("{ price = 0.03, package_size = 1_000 }", 5_000, "0.15"),
        ("{ price = 1, package_size = 3 }", 1, "0." + "3" * 30),
        # free units, never below zero (getlago/lago-api#209)
        ("{ price = 2.50, free_units = 100_000 }", 99_999, "0"),
        ("{ price = 2.50, free_units = 100_000 }", 100_000, "0"),
        ("{ price = 2.50, free_units = 100_000 }", 1_100_000, "2.5"),
        # package: what is beyond the free units, in whole started packages
        ('{ price = 60, rounding = "up" }', 10, "60"),
        ('{ price = 60, rounding = "up" }', M, "60"),
        ('{ price = 60, rounding = "up" }', M + 1, "120"),
        ('{ price = 5, rounding = "up", package_size = 100, free_units = 100 }', 100, "0"),
        ('{ price = 5, rounding = "up", package_size = 100, free_units = 100 }', 101, "5"),
        ('{ price = 5, rounding = "up", package_size = 100, free_units = 100 }', 301, "15"),
        # beyond what a float holds (getlago/lago-api#3174)
        ('{ price = 1, rounding = "up", package_size = 10 }', 2**53 + 1, 900719925474100),
        # graduated: each tier for its own units, up_to inclusive
        (GRADUATED, 10, "50"),
        (GRADUATED, 11, "53"),
        (GRADUATED, 25, "85"),
        (DESIGNS, 12 * M, "116"),
        # volume: all units at the tier reached
        (VOLUME, 10, "50"),
        (VOLUME, 11, "33"),
        # whole packages first, then the tiers
        (
            (
                "{ mode = 'graduated', rounding = 'up', package_size = 10, "
                "tiers = [{ up_to = 10, price = 5 }, { price = 3 }] }"
            ),
            11,
            "8",
        ),
        (
            (
                "{ mode = 'volume', rounding = 'up', package_size = 10, "
                "tiers = [{ up_to = 15, price = 5 }, { price = 3 }] }"
            ),
            11,
            "6",
        ),
    ],
)
def test_charge_models(price: str, quantity: int, amount: str) -> None:
    [line] = rated(book(f"input = {price}"), [row("input", quantity)])
    assert line.amount == D(amount)
    assert line.quantity == quantity


def test_the_guides_o1() -> None:
    o1 = book("input = 15.00\ncached_input = 7.50\noutput = 60.00")
    disjoint = [row("input", 5 * M), row("output", 2 * M), row("cached_input", M)]
    assert cost(o1, disjoint) == D("202.50")
    # The same 5M as OpenAI reports them: prompt_tokens includes the cached million.
    wire = [row("input", 4 * M), row("output", 2 * M), row("cached_input", M)]
    assert cost(o1, wire) == D("187.50")


def test_ten_tokens_start_a_package() -> None:
    assert cost(book("output = 60.00", 'rounding = "up"'), [row("output", 10)]) == 60
    assert cost(book('output = 60.00\nrounding = "up"'), [row("output", 10)]) == 60
    assert cost(book('output = 60.00\nrounding = "none"', 'rounding = "up"'),
                [row("output", 10)]) == D("0.0006")  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "type_", "price", "quantity", "amount"),
    [
        (Metric.IMAGES, "hd/1024x1024", "images = 0.04", 3, "0.12"),
        (Metric.IMAGES, "hd/1024x1024", 'images = { "hd/*" = 0.08, "*" = 0.04 }', 3, "0.24"),
        (Metric.IMAGES, "low/512x512", 'images = { "hd/*" = 0.08, "*" = 0.04 }', 3, "0.12"),
        (Metric.IMAGES, "low/512x512", 'images = { "*/512x512" = 0.02, "*" = 0.04 }', 1, "0.02"),
        (Metric.IMAGES, "x/y", "images = { price = 1, free_units = 2 }", 3, "1"),
        (Metric.AUDIO_SECONDS, "", "audio_seconds = 0.0001", 90_500_000, "0.00905"),
        (
            Metric.AUDIO_SECONDS,
            "",
            'audio_seconds = { price = 0.006, per = "minute" }',
            90_000_000,
            "0.009",
        ),
        (
            Metric.AUDIO_SECONDS,
            "",
            'audio_seconds = { price = 3.00, per = "hour" }',
            1_800_000_000,
            "1.5",
        ),
        (
            Metric.AUDIO_SECONDS,
            "",
            ('audio_seconds = { price = 0.01, per = "minute", rounding = "up", free_units = 30 }'),
            91_000_000,
            "0.02",
        ),
        (
            Metric.AUDIO_SECONDS,
            "",
            (
                'audio_seconds = { per = "second", mode = "volume", '
                "tiers = [{ up_to = 60, price = 2 }, { price = 1 }] }"
            ),
            61_000_000,
            "61",
        ),
        (Metric.CHARACTERS, "", "characters = 15.00", 2_000, "0.03"),
        (Metric.TOOL_CALLS, "web_search", "tool_calls = { web_search = 10.00 }", 3, "0.03"),
        (Metric.TOOL_CALLS, "other", 'tool_calls = { web_search = 10.00, "*" = 1 }', 3, "0.003"),
        (Metric.REQUESTS, "exact", "requests = 0.01", 7, "0.07"),
    ],
)
def test_other_metrics(metric: Metric, type_: str, price: str, quantity: int, amount: str) -> None:
    [line] = rated(book(price), [row(type_, quantity, metric=metric)])
    assert line.amount == D(amount)


def test_rounding_up_is_for_tokens_and_characters() -> None:
    prices = book("tool_calls = { web_search = 10.00 }\ncharacters = 15.00", 'rounding = "up"')
    assert cost(prices, [row("web_search", 1, metric=Metric.TOOL_CALLS)]) == D("0.01")
    assert cost(prices, [row("", 1, metric=Metric.CHARACTERS)]) == 15


def test_requests_are_billed_by_no_type_and_failed_ones_never() -> None:
    rows = [
        row("exact", 7, metric=Metric.REQUESTS),
        row("partial", 1, metric=Metric.REQUESTS, source="partial"),
        row("failed", 5, metric=Metric.REQUESTS, source="failed"),
    ]
    [line] = rated(book("requests = 0.01"), rows)
    assert (line.type, line.quantity, line.amount) == ("", 8, D("0.08"))
    assert rated(book("input = 1"), rows) == ()


def test_tools_of_every_model_and_of_one() -> None:
    prices = book("input = 1\ntool_calls = { a = 1 }", "tool_calls = { a = 10, b = 20 }")
    calls = [row("a", 1000, metric=Metric.TOOL_CALLS), row("b", 1000, metric=Metric.TOOL_CALLS)]
    assert [line.amount for line in rated(prices, calls)] == [1, 20]


def test_packages_pool_over_the_period_and_share_pro_rata() -> None:
    prices = book('match = ["m-*"]\noutput = { price = 60, rounding = "up" }')
    rows = [row("output", 1, model="m-1"), row("output", 2, model="m-2")]
    assert [line.amount for line in rated(prices, rows)] == [20, 40]


@pytest.mark.parametrize(
    ("one", "two", "amount"),
    [
        ({}, {"source": "estimated"}, 60),
        ({}, {"model": "m-2"}, 60),
        ({}, {"requested": "m-2", "model": "unknown"}, 60),
        ({}, {"tier": "auto"}, 60),
        ({"tier": "fast"}, {"tier": "priority"}, 60),
        ({}, {"tier": "flex"}, 120),
        ({}, {"segment": 2}, 120),
        ({}, {"context_class": "above_200000"}, 120),
    ],
)
def test_what_shares_a_pool(one: dict[str, str], two: dict[str, str], amount: int) -> None:
    prices = book('match = ["m-*"]\noutput = { price = 60, rounding = "up" }')
    rows = [row("output", 10, **one), row("output", 10, **two)]  # type: ignore[arg-type]
    assert cost(prices, rows) == amount


def test_a_type_without_a_price_shares_the_pool_of_what_it_is_charged_as() -> None:
    prices = book('input = { price = 15, rounding = "up" }')
    rows = [row("input", 600_000), row("cached_input", 400_000)]
    assert [line.amount for line in rated(prices, rows)] == [6, 9]


def test_versions_share_a_pool_pro_rata() -> None:
    prices = book(
        'rounding = "up"\noutput = 60\n[[models.m.versions]]\n'
        "effective_from = 2026-11-16\noutput = 30"
    )
    bounds = windows(prices, Period(start=START, end=END, timezone="UTC"))
    assert bounds == [START, datetime(2026, 11, 16, tzinfo=UTC), END]
    rows = [row("output", 1_500_000, window=0), row("output", 500_000, window=1)]
    first, second = rated(prices, rows, bounds)
    # 2M tokens are two packages: 120 at the old price, 60 at the new one.
    assert (first.amount, second.amount) == (90, 15)
    assert (first.effective_from, second.effective_from) == (None, bounds[1])


def test_dated_prices_go_by_the_window() -> None:
    prices = book(
        "input = 15\noutput = 60\n[[models.m.versions]]\neffective_from = 2026-11-16\ninput = 12"
    )
    bounds = windows(prices, Period(start=START, end=END, timezone="UTC"))
    rows = [row(t, M, window=w) for t in ("input", "output") for w in (0, 1)]
    assert [line.amount for line in rated(prices, rows, bounds)] == [15, 12, 60, 60]


def test_another_models_date_splits_no_line() -> None:
    prices = book(
        "input = 15\n[models.n]\ninput = 1\n[[models.n.versions]]\n"
        "effective_from = 2026-11-16\ninput = 2"
    )
    bounds = windows(prices, Period(start=START, end=END, timezone="UTC"))
    [line] = rated(prices, [row("input", M, window=0), row("input", M, window=1)], bounds)
    assert (line.quantity, line.amount) == (2 * M, 30)


def test_segments_pool_apart_and_show_together() -> None:
    prices = book("input = { price = 1, free_units = 1_000_000 }")
    [line] = rated(prices, [row("input", 2 * M, segment=1), row("input", 2 * M, segment=2)])
    assert (line.quantity, line.amount) == (4 * M, 2)


def test_unpriced_is_a_line_without_amount() -> None:
    [line] = rated(book("output = 1"), [row("input", 5)])
    assert (line.priced_as, line.price, line.amount, line.quantity) == (None, None, None, 5)
    [line] = rated(book("output = 1"), [row("output", 5, model="unknown")])
    assert (line.model, line.amount) == ("unknown", None)
    [line] = rated(book("output = 1"), [row("output", 5, model="", requested="asked")])
    assert line.model == "asked"


def test_a_price_that_has_not_begun_is_none() -> None:
    prices = book("[[models.m.versions]]\neffective_from = 2026-11-16\ninput = 12")
    bounds = windows(prices, Period(start=START, end=END, timezone="UTC"))
    rows = [row("input", M, window=0), row("input", M, window=1)]
    assert [line.amount for line in rated(prices, rows, bounds)] == [None, 12]


def test_zero_sums_are_no_lines() -> None:
    assert rated(book("input = 1"), [row("input", 0)]) == ()
