"""A plan's own price takes the place of dearer ones: that is told, and nothing else is."""

from pathlib import Path

import pytest

from proxy.pricing import hidden_prices, parse

MODEL = """
[models.m]
input = 5
cached_input = 1
output = 30
long_context = { above = 1_000, input = 10, output = 45 }
tool_calls = { search = 10 }
[models.m.service_tiers]
flex = 0.5
batch = { output = 15 }
priority = { output = 75, long_context = { above = 1_000, output = 90 } }
"""
VERSION = "\n[[{}.versions]]\neffective_from = 2026-12-01\n{}"


def told(plan: str, model: str = MODEL) -> list[str]:
    return hidden_prices(parse(f"{model}\n[plans.pro]\nmarkup = 3\n{plan}"))


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        ("", []),
        ("models.m.cached_input = 0.5", []),
        ("models.m.tool_calls = { search = 9 }", []),
        (
            "models.m.output = 28",
            [
                "28.00 above 1_000, where the model has 45.00",
                "28.00 at priority, where the model has 75.00",
                "28.00 at priority above 1_000, where the model has 90.00",
            ],
        ),
        (
            "models.m = { output = 50, service_tiers = { priority = { output = 60 } } }",
            ["60.00 at priority above 1_000, where the model has 90.00"],
        ),
        (
            "models.m = { output = 28, long_context = { above = 1_000, output = 40 } }",
            [
                "28.00 at priority, where the model has 75.00",
                "40.00 at priority above 1_000, where the model has 90.00",
            ],
        ),
        ("models.m.output = 90", []),
    ],
)
def test_what_is_hidden(plan: str, lines: list[str]) -> None:
    assert told(plan) == [f"plan pro m output: {line}" for line in lines]


def test_packages_are_compared_by_the_unit() -> None:
    plan = "models.m = { package_size = 1_000, input = 0.009 }"
    assert told(plan) == [
        "plan pro m input: 0.009 per 1_000 above 1_000, where the model has 10.00"
    ]
    assert told(plan.replace("0.009", "0.01")) == []


def test_of_tiers_the_dearest_counts() -> None:
    tiers = "mode = 'volume', tiers = [{ up_to = 9, price = 1 }, { price = 80 }]"
    mine = "volume 1.00 up to 9, 80.00 beyond"
    assert told(f"models.m.output = {{ {tiers} }}") == [
        f"plan pro m output: {mine} at priority above 1_000, where the model has 90.00"
    ]


def test_each_is_told_from_when_it_is_so() -> None:
    plan = "[plans.pro.models.m]\ninput = 8"
    assert told(plan + VERSION.format("plans.pro.models.m", "input = 7")) == [
        "plan pro m input: 8.00 above 1_000, where the model has 10.00",
        "plan pro m input: 7.00 above 1_000, where the model has 10.00, from 2026-12-01",
    ]
    later = MODEL + VERSION.format("models.m", "service_tiers.new = { input = 9 }")
    assert told(plan, later) == [
        "plan pro m input: 8.00 above 1_000, where the model has 10.00",
        "plan pro m input: 8.00 at new, where the model has 9.00, from 2026-12-01",
    ]
    begins = VERSION.format("models.m", "input = 5\nlong_context = { above = 1_000, input = 10 }")
    assert told(plan, begins) == [
        "plan pro m input: 8.00 above 1_000, where the model has 10.00, from 2026-12-01"
    ]
    waits = "[plans.pro.models.m]" + VERSION.format("plans.pro.models.m", "input = 8")
    assert told(waits, MODEL) == [
        "plan pro m input: 8.00 above 1_000, where the model has 10.00, from 2026-12-01"
    ]


def test_the_shipped_prices_hide_nothing() -> None:
    assert hidden_prices(parse((Path(__file__).parents[2] / "pricing.toml").read_text())) == []
