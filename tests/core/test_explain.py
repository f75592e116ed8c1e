from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.core.adjustments import adjusted_lines
from proxy.core.rating import Explanation, PricedRequest, explain, pool_quantities
from proxy.core.usage import Metric, Quantity
from proxy.pricing import parse
from tests.core.rows import END, START, row

BOOK = parse("""
[models.m]
match = ["m-*", "em"]
input = 4
output = 60
cache_write = { price = 6, rounding = "up", free_units = 10 }
long_context = { above = 100, output = 90 }
service_tiers = { flex = 0.5 }
input_audio = { mode = "graduated", tiers = [{ up_to = 10, price = 5 }, { price = 3 }] }
output_audio = { mode = "volume", tiers = [{ up_to = 10, price = 5 }, { price = 3 }] }
audio_seconds = { price = 0.006, per = "minute" }
[models.heard]
audio_seconds = { price = 0.006, per = "minute", free_units = 30 }
[models.spoken.audio_seconds]
per = "minute"
mode = "volume"
rounding = "up"
tiers = [{ up_to = 3_600, price = 0.006 }, { price = 0.003 }]
[[models.m.versions]]
effective_from = 2026-11-16
input = 3
[plans.pro]
markup = 1.5
[models.later]
[[models.later.versions]]
effective_from = 2026-11-16
input = 3
""")


def told(
    *quantities: tuple[str, int],
    metric: Metric = Metric.TOKENS,
    pool: tuple[str, int] | None = None,
    **request: object,
) -> Explanation:
    facts: dict[str, object] = {"segment_id": 1, "plan": "default", "at": START, "model": "m",
                                "model_requested": "asked", **request}  # fmt: skip
    pools = pool_quantities(BOOK, [row(*pool)], [START, END]) if pool else None
    return explain(
        BOOK,
        PricedRequest(
            quantities=[Quantity(metric=metric, type=t, quantity=q) for t, q in quantities],
            **facts,  # type: ignore[arg-type]
        ),
        pools,
    )


def steps(explanation: Explanation) -> dict[str, str]:
    [quantity] = explanation.quantities
    return {step.rule: f"{step.result} | {step.because}" for step in quantity.steps}


def test_standard() -> None:
    explanation = told(("input", 500_000))
    assert explanation.amount == 2
    assert steps(explanation) == {
        "match": "m | reported 'm' is its name",
        "version": "from the beginning | accepted at 2026-11-01T00:00:00Z",
        "tier": "default | the answer said 'none'",
        "price": "4 per 1000000 | by the table of: model",
        "rule": "standard | 500000 units, each its part of the price",
        "amount": "2 | precise; only totals are rounded",
    }


def test_version_type_class_tier_and_markup() -> None:
    explanation = told(
        ("output_image", 1_000_000),
        at=datetime(2026, 11, 20, tzinfo=UTC),
        model="m-2026",
        plan="pro",
        service_tier="flex",
        context_class="above_100",
    )
    assert explanation.amount == Decimal("67.5")
    found = steps(explanation)
    assert found["match"] == "m | reported 'm-2026' fits its glob 'm-*'"
    assert found["version"].startswith("from 2026-11-16T00:00:00Z")
    assert found["type"] == "charged as output | output_image has no price of its own"
    assert found["class"] == "above_100 | settled as above_100"
    assert found["tier"] == "flex: 0.5 times the price | the answer said 'flex'"
    assert found["price"].startswith("90 per 1000000")
    assert found["markup"] == "67.5 per 1000000 | plan pro marks up by 1.5"


def test_requested_name_and_class_without_price() -> None:
    found = steps(told(("input", 1), model="x", model_requested="em", context_class="above_100"))
    assert found["match"] == "m | requested 'em' is its alias"
    assert found["class"] == "no price of its own for the class | settled as above_100"


def test_packages_share_the_pool() -> None:
    alone = told(("cache_write", 20))
    assert alone.amount == 6
    shared = told(("cache_write", 20), pool=("cache_write", 60))
    assert shared.amount == 2
    found = steps(shared)
    assert found["pool"].startswith("20 of 60 units")
    assert found["free units"] == "50 paid | 10 are free"
    assert found["rounding"] == "1 packages | every started 1000000 is charged whole"
    assert found["rule"] == "package: 6 for the pool | by the price"


@pytest.mark.parametrize(
    ("type_", "price", "rule"),
    [
        ("input_audio", "5 up to 10, 3 up to any, per 1000000",
         "graduated: 0.00008 for the pool | by the tiers"),
        ("output_audio", "5 up to 10, 3 up to any, per 1000000",
         "volume: 0.00006 for the pool | 20 units reach the price 3"),
    ],
)  # fmt: skip
def test_tiers(type_: str, price: str, rule: str) -> None:
    found = steps(told((type_, 20)))
    assert found["price"].startswith(price)
    assert found["rule"] == rule


def test_audio_is_told_in_seconds() -> None:
    plain = steps(told(("", 90_500_000), metric=Metric.AUDIO_SECONDS))
    assert plain["price"] == "0.006 per 60 seconds | by the table of: model"
    assert plain["rule"] == "standard | 90.5 seconds, each its part of the price"
    found = steps(told(("", 90_500_000), metric=Metric.AUDIO_SECONDS, model="spoken"))
    assert found["price"].startswith("0.006 up to 3600, 0.003 up to any, per 60 seconds")
    assert found["pool"].startswith("90.5 of 90.5 seconds")
    assert found["rounding"] == "2 packages | every started 60 is charged whole"
    assert found["rule"].endswith("for the pool | 120 seconds reach the price 0.006")
    free = steps(told(("", 90_500_000), metric=Metric.AUDIO_SECONDS, model="heard"))
    assert free["free units"] == "60.5 paid | 30 are free"


def test_unpriced_and_failed() -> None:
    unknown = told(("input", 1), model="x", model_requested="y")
    assert (unknown.amount, unknown.quantities[0].amount) == (0, None)
    assert steps(unknown)["match"] == "unpriced | no entry matches 'x' nor 'y'"
    early = steps(told(("input", 1), model="later"))
    assert early["version"] == (
        "unpriced | later has no price for tokens input at 2026-11-01T00:00:00Z"
    )
    failed = told(("failed", 1), metric=Metric.REQUESTS)
    assert steps(failed) == {"match": "not billed | the request failed"}
    assert told(("exact", 1), metric=Metric.REQUESTS).quantities[0].amount is None


def test_what_came_late_is_charged_as_its_adjustment_says() -> None:
    bounds = [START, END]
    billed, late = [row("input_audio", 9)], [row("input_audio", 2), row("output_audio", 3)]
    lines = adjusted_lines(BOOK, bounds, billed, late)
    pools = pool_quantities(BOOK, [*billed, *late], bounds)

    def charged(kind: str, quantity: int, plan: str = "default") -> Explanation:
        request = PricedRequest(
            segment_id=1, plan=plan, at=START, model="m", model_requested="m",
            quantities=[Quantity(metric=Metric.TOKENS, type=kind, quantity=quantity)],
        )  # fmt: skip
        return explain(BOOK, request, pools, lines)

    # Of 11, ten cost 5 and one costs 3; nine were billed at 5 before: 8 for two.
    audio = charged("input_audio", 1)
    assert audio.amount == Decimal("0.000004")
    assert steps(audio)["late"].startswith("0.000008 for 2 units | it came late")
    for other in (
        charged("output_audio", 0),
        charged("output", 1),
        charged("input_audio", 1, "pro"),
    ):
        assert "late" not in steps(other)
