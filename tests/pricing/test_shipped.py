"""The shipped ``pricing.toml`` gives the figures that its sources give."""

from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.book import PriceBook
from proxy.core.money import total
from proxy.core.rating import rate
from proxy.core.usage import Metric
from proxy.pricing import parse
from tests.core.rows import END, START, row

FILE = Path(__file__).parents[2] / "pricing.toml"
TEXT = FILE.read_text("utf-8")
BOOK = parse(TEXT)
D = Decimal
M = 1_000_000


def cost(model: str, tokens: dict[str, int], tier: str = "", book: PriceBook = BOOK) -> Decimal:
    """Price one request; its input decides the context class, as at settlement."""
    inputs = sum(n for t, n in tokens.items() if not t.startswith("output"))
    context_class = book.context_class(model, None, inputs)
    rows = [row(t, n, model=model, tier=tier, context_class=context_class)
            for t, n in tokens.items()]  # fmt: skip
    lines = rate(book, rows, [START, END])
    assert all(line.amount is not None for line in lines)
    return total([line.amount or D(0) for line in lines])


@pytest.mark.parametrize(
    ("model", "tier", "tokens", "dollars"),
    [
        # the guides
        ("o1", "", {"input": 5 * M, "output": 2 * M, "cached_input": M}, "202.50"),
        ("o1", "", {"input": 4 * M, "output": 2 * M, "cached_input": M}, "187.50"),
        ("8k", "", {"input": 5_000}, "0.15"),
        ("4k", "", {"input": 1_000, "output": 1_000}, "0.0035"),
        ("16k", "", {"input": 1_000, "output": 1_000}, "0.008"),
        ("8k", "", {"input": 1_000, "output": 1_000}, "0.09"),
        ("32k", "", {"input": 1_000, "output": 1_000}, "0.18"),
        # usage as providers report it, split into disjoint types
        ("gpt-4o", "", {"input": 600, "cached_input": 400, "output": 200}, "0.0040"),
        ("gpt-6.1-sol", "", {"input": 150_000, "cached_input": 100_000, "cache_write": 50_000,
                             "output": 10_000}, "1.02"),
        ("gpt-6.1-sol", "flex", {"input": 150_000, "cached_input": 100_000,
                                 "cache_write": 50_000, "output": 10_000}, "0.51"),
        ("gpt-6.1-sol", "", {"input": 272_000, "output": 10_000}, "0.644"),
        ("gpt-6.1-sol", "", {"input": 272_001, "output": 10_000}, "1.238004"),
        ("gpt-5.5", "priority", {"input": 300_000, "output": 10_000}, "4.50"),
        ("gpt-audio", "", {"input": 700, "input_audio": 300, "output": 100, "output_audio": 400},
         "0.03795"),
        ("o3", "batch", {"input": 600, "cached_input": 400, "output": 200}, "0.0016"),
        # tiers with prices of their own
        ("gpt-4o-mini", "fast", {"input": M, "cached_input": M, "output": M}, "1.375"),
        ("gpt-5.4", "batch", {"cached_input": 1_000}, "0.00013"),
        ("gpt-6-astra", "ultrafast", {"output": M}, "300"),
        # others
        ("text-embedding-3-small", "", {"input": M}, "0.02"),
        ("omni-moderation-latest", "", {"input": M}, "0"),
        ("gpt-image-1.5", "", {"input": M, "input_image": M, "output_image": M}, "45"),
        ("gpt-realtime-2.1-mini", "", {"output_audio": M}, "20"),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", "", {"output": M}, "1.2"),
    ],
)  # fmt: skip
def test_vectors(model: str, tier: str, tokens: dict[str, int], dollars: str) -> None:
    assert cost(model, tokens, tier) == D(dollars)


def test_ten_o1_tokens_start_a_package_where_packages_are_whole() -> None:
    book = parse(TEXT.replace('rounding = "none"', 'rounding = "up"', 1))
    assert cost("o1", {"output": 10}, book=book) == 60


# dollars per million: input, cached input, cache write, output; input and output above 272,000
TABLE = """
gpt-6-astra    10   1     12.5  50  20  75
gpt-6.1-sol    2    0.1   2.5   10  4   15
gpt-6-sol      2    0.2   2.5   10  4   15
gpt-6.1-terra  1    0.05  1.25  5   2   7.5
gpt-6-luna     0.1  0.01  0.125 0.5 0.2 0.75
gpt-5.6-sol    4    0.4   5     20  8   30
gpt-5.6-terra  2    0.2   2.5   12  4   18
gpt-5.6-luna   0.2  0.02  0.25  1.2 0.4 1.8
gpt-5.5        5    0.5   -     30  10  45
gpt-5.4        2.5  0.25  -     15  5   22.5
gpt-5.4-mini   0.75 0.075 -     4.5
gpt-5.4-nano   0.2  0.02  -     1.25
gpt-5.2        1.75 0.175 -     14
gpt-5.1        1.25 0.125 -     10
gpt-5-mini     0.25 0.025 -     2
gpt-5-nano     0.05 0.005 -     0.4
gpt-4.1        2    0.5   -     8
gpt-4.1-mini   0.4  0.1   -     1.6
gpt-4.1-nano   0.1  0.025 -     0.4
gpt-4o         2.5  1.25  -     10
gpt-4o-mini    0.15 0.075 -     0.6
o3             2    0.5   -     8
o4-mini        1.1  0.275 -     4.4
o1             15   7.5   -     60
o3-mini        1.1  0.55  -     4.4
gpt-4          30   -     -     60
gpt-4-turbo    10   -     -     30
gpt-3.5-turbo  0.5  -     -     1.5
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_list_prices(line: str) -> None:
    model, *figures = line.split()
    types = ("input", "cached_input", "cache_write", "output")
    for type_, figure in zip(types, figures, strict=False):
        if figure != "-":
            # In thousands, so as not to reach the long-context class; a million of each then.
            assert cost(model, {type_: 1_000}) * 1_000 == D(figure)
    if len(figures) > len(types):
        long_input, long_output = map(D, figures[len(types) :])
        assert cost(model, {"input": M}) == long_input
        assert cost(model, {"input": M, "output": M}) - long_input == long_output


def test_what_is_not_tokens() -> None:
    used = [
        (Metric.AUDIO_SECONDS, "", 60_000_000, "whisper-1", "0.006"),
        (Metric.AUDIO_SECONDS, "", 60_000_000, "gpt-transcribe", "0.0045"),
        (Metric.AUDIO_SECONDS, "", 3_600_000_000, "gpt-live-1", "3"),
        (Metric.CHARACTERS, "", M, "tts-1", "15"),
        (Metric.TOOL_CALLS, "web_search", 1, "gpt-5.2", "0.01"),
        (Metric.TOOL_CALLS, "web_search_preview", 1, "gpt-5.2", "0.01"),
        (Metric.TOOL_CALLS, "web_search_preview", 1, "gpt-4o", "0.025"),
        (Metric.TOOL_CALLS, "file_search", 1, "gpt-4o", "0.0025"),
        (Metric.TOOL_CALLS, "code_interpreter", 1, "gpt-4o", "0.03"),
    ]
    for metric, type_, quantity, model, dollars in used:
        [line] = rate(BOOK, [row(type_, quantity, metric=metric, model=model)], [START, END])
        assert line.amount == D(dollars)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-turbo-2024-04-09", "gpt-4-turbo"),
        ("o1-2024-12-17", "o1"),
        ("o1-mini-2024-09-12", "o1-mini"),
        ("gpt-audio-mini-2025-12-15", "gpt-audio-mini"),
        ("32k", "gpt-4-32k"),
        ("gpt-9", None),
    ],
)
def test_names(name: str, entry: str | None) -> None:
    model = BOOK.entry(name, None)
    assert (model and model.name) == entry


def test_every_entry_can_be_found_and_prices_something() -> None:
    for name, model in BOOK.models.items():
        assert BOOK.entry(name, None) is model
        assert model.history.versions[-1].table.prices


def test_the_plan_that_its_comments_show_can_be_used() -> None:
    shown = [line[4:] for line in TEXT.splitlines() if line.startswith("#   ")]
    example = shown[shown.index("[plans.pro]") :]
    plan = parse("\n".join([TEXT, *example])).plans["pro"]
    assert (plan.markup, plan.billing_time, plan.assumed_output) == (D("1.20"), "anniversary", 4096)
    assert plan.limits.requests_per_minute == 600
    assert plan.key_limits.spend_per_day == 5
