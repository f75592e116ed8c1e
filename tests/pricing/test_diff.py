import pytest

from proxy.pricing import diff, parse

BASE = """
[models.gpt-4o]
input = 2.50
output = 10.00
long_context = { above = 1_000, output = 20 }
service_tiers = { flex = 0.5, priority = { output = 30 } }
audio_seconds = { price = 0.006, per = "minute", free_units = 60 }
[models.o1]
input = 15.00
[plans.pro]
markup = 1.2
models.o1.input = 14
"""
DATED = "\n[[models.gpt-4o.versions]]\neffective_from = {}\n{}\n"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("", "", []),
        ("output = 10.00", "output = 9", ["gpt-4o output 10.00 -> 9.00"]),
        ("input = 2.50", "input = 2.50\ncached_input = 1", ["gpt-4o cached_input none -> 1.00"]),
        ("input = 2.50\n", "", ["gpt-4o input 2.50 -> none"]),
        ("[models.o1]", "[models.new]\ninput = 1\n[models.o1]", ["new added"]),
        ("output = 20", "output = 21", ["gpt-4o output above 1_000 20.00 -> 21.00"]),
        ("flex = 0.5", "flex = 0.4",
         ["gpt-4o flex 0.5 times the price -> 0.4 times the price"]),
        ("output = 30", "output = 31", ["gpt-4o priority output 30.00 -> 31.00"]),
        ("price = 0.006", "price = 0.007",
         ["gpt-4o audio_seconds 0.006 per 60 after 60 free -> 0.007 per 60 after 60 free"]),
        ("output = 10.00", "output = { price = 10, package_size = 1_000, rounding = 'up' }",
         ["gpt-4o output 10.00 -> 10.00 per 1_000 in whole packages"]),
        ("output = 10.00",
         "output = { mode = 'volume', tiers = [{ up_to = 10_000, price = 10 }, { price = 8 }] }",
         ["gpt-4o output 10.00 -> volume 10.00 up to 10_000, 8.00 beyond"]),
        ("[models.gpt-4o]", "currency = 'EUR'\n[models.gpt-4o]", ["currency USD -> EUR"]),
        ("[models.gpt-4o]", "tool_calls = { x = 1 }\n[models.gpt-4o]",
         ["every model tool_calls x none -> 1.00 per 1_000"]),
        ("input = 15.00", "input = 15.00\nmatch = ['o1-*']", ["o1 match none -> o1-*"]),
        ("input = 15.00", "input = 15.00\ncontext_window = 7", ["o1 context_window none -> 7"]),
        ("markup = 1.2", "markup = 1.3", ["plan pro markup 1.2 -> 1.3"]),
        ("markup = 1.2", "allowed_models = []\nmarkup = 1.2",
         ["plan pro allowed_models all -> none"]),
        ("markup = 1.2", "allowed_models = ['o1', 'gpt*']\nmarkup = 1.2",
         ["plan pro allowed_models all -> o1, gpt*"]),
        ("markup = 1.2", "markup = 1.2\nlimits.soft_thresholds = [0.5]\nlimits.spend_total = 9",
         ["plan pro limits.spend_total none -> 9", "plan pro limits.soft_thresholds none -> 0.5"]),
        ("models.o1.input = 14", "models.o1.input = 13",
         ["plan pro o1 input 14.00 -> 13.00"]),
        ("models.o1.input = 14", "", ["plan pro o1 input 14.00 -> none"]),
        ("models.o1.input = 14", "[plans.more]", ["plan pro o1 input 14.00 -> none",
                                                  "plan more added"]),
    ],
)  # fmt: skip
def test_diff(before: str, after: str, lines: list[str]) -> None:
    assert diff(parse(BASE), parse(BASE.replace(before, after, 1))) == lines


@pytest.mark.parametrize(
    ("on_plan", "told"),
    [
        (None, "subscriptions on it are billed as default, without its limits and"),
        (
            {"pro": 1_200, "default": 3},
            "subscriptions on it (1,200) are billed as default, without",
        ),
        ({"default": 3}, "no subscription is on it"),
    ],
)
def test_removed(on_plan: dict[str, int] | None, told: str) -> None:
    *models, plan = diff(parse(BASE), parse(""), on_plan)
    assert models == ["gpt-4o removed", "o1 removed"]
    assert plan.startswith(f"plan pro removed; {told}")


def test_dated() -> None:
    change = BASE + DATED.format("2026-12-01", "output = 9.00")
    assert diff(parse(BASE), parse(change)) == ["gpt-4o output 10.00 -> 9.00, from 2026-12-01"]
    assert diff(parse(change), parse(BASE)) == ["gpt-4o output 9.00 -> 10.00, from 2026-12-01"]
    later = BASE + DATED.format("2027-01-01", "output = 9.00")
    assert diff(parse(change), parse(later)) == ["gpt-4o output 9.00 -> 10.00, from 2026-12-01"]
    at_six = BASE + DATED.format("2026-12-01T06:00:00Z", "output = 9.00")
    assert diff(parse(BASE), parse(at_six)) == [
        "gpt-4o output 10.00 -> 9.00, from 2026-12-01 06:00+0000"
    ]


def test_dates_are_the_files() -> None:
    top = 'timezone = "America/New_York"\n'
    change = top + BASE + DATED.format("2026-12-01", "output = 9.00")
    assert diff(parse(top + BASE), parse(change)) == [
        "gpt-4o output 10.00 -> 9.00, from 2026-12-01"
    ]


def test_a_change_of_what_is_carried_over_is_told_once() -> None:
    dated = BASE + DATED.format("2026-12-01", "output = 9.00")
    assert diff(parse(dated), parse(dated.replace("input = 2.50", "input = 2.60"))) == [
        "gpt-4o input 2.50 -> 2.60"
    ]


def test_a_price_that_only_begins() -> None:
    begins = "[models.m]\n[[models.m.versions]]\neffective_from = {}\ninput = 1"
    assert diff(parse(begins.format("2026-12-01")), parse(begins.format("2027-01-01"))) == [
        "m input 1.00 -> none, from 2026-12-01"
    ]
