"""The worst case: never below what any usage within the bounds costs."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.money import EXACT, total
from proxy.core.rating import rate
from proxy.core.reservations import (
    ASSUMED_OUTPUT,
    ASSUMED_WINDOW,
    FREE,
    Bounds,
    Reserver,
    expected_tokens,
    nearest_names,
)
from proxy.core.series import SeriesSum
from proxy.core.times import to_us
from proxy.core.usage import Metric, RequestState, TokenType
from proxy.pricing import parse

AT = datetime(2026, 11, 15, tzinfo=UTC)
AT_US = to_us(AT)
BOOK = parse(
    """
currency = "USD"
package_size = 1000
[tool_calls]
web_search = 10.00
[models."plain"]
context_window = 5000
max_output = 300
input = 1
output = 2
[models."windowed"]
context_window = 400
input = 1
output = 2
[models."unknown size"]
input = 1
output = 2
[models."tiered"]
context_window = 1000
input = 1
cached_input = 0.5
cache_write = 1.25
cache_write_12h = 4
output = 2
input_audio = 9
service_tiers = { flex = 0.5, priority = 2, batch = 0.5 }
long_context = { above = 500, input = 3, output = 5 }
[models."dated"]
input = 1
output = 1
[[models."dated".versions]]
effective_from = 2026-12-01
input = 10
[models."packed"]
rounding = "up"
input = 3
cached_input = 1
output = 5
[models."graduated"]
input = { mode = "graduated", tiers = [{ up_to = 10, price = 1 }, { price = 4 }] }
output = 2
[models."by the call"]
input = 1
output = 1
requests = 0.25
[models."embedder"]
input = 1
[models."painter"]
images = { "hd/1024x1024" = 0.08, "*" = 0.04 }
[models."sketcher"]
input = 1
images = 0.50
[models."speaker"]
characters = 15
[models."listener"]
audio_seconds = { price = 0.36, per = "hour" }
[plans.own]
markup = 1.5
assumed_output = 50
models."plain".output = 7
""",
    "prices",
)
MODELS = ("plain", "windowed", "tiered", "packed", "graduated", "by the call")
IN = (TokenType.INPUT, TokenType.CACHED_INPUT, TokenType.CACHE_WRITE)
LONG = (TokenType.CACHE_WRITE_1H, TokenType.CACHE_WRITE_12H)
MEDIA_IN = (TokenType.INPUT_AUDIO, TokenType.CACHED_INPUT_IMAGE)
MEDIA_OUT = (TokenType.OUTPUT_AUDIO, TokenType.OUTPUT_IMAGE)


def reserve(
    model: str = "plain", plan: str = "default", at: datetime = AT, **bounds: object
) -> Decimal | None:
    asked = Bounds(model=model, **{"body_bytes": 100, **bounds})  # type: ignore[arg-type]
    return Reserver(BOOK).reserve(plan, asked, to_us(at))


def amount(model: str = "plain", plan: str = "default", **bounds: object) -> Decimal:
    reservation = reserve(model, plan, **bounds)  # type: ignore[arg-type]
    assert reservation is not None
    return reservation


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, "0.1 + 0.6"),
        ({"output_limit": 10}, "0.1 + 0.02"),
        ({"output_limit": 10, "outputs": 3}, "0.1 + 0.06"),
        ({"body_bytes": 9000}, "5 + 0.6"),
        ({"referenced": True}, "5 + 0.6"),
        ({"body_bytes": 9000, "prompts": 2}, "9 + 0.6"),
        ({"body_bytes": 19000, "prompts": 3}, "15 + 0.6"),
        ({"referenced": True, "prompts": 3}, "15 + 0.6"),
        ({"outputs": 0}, "0.1 + 0"),
        ({"plan": "own"}, "0.15 + 0.35"),
        ({"plan": "own", "output_limit": 10}, "0.15 + 0.07"),
        ({"model": "windowed"}, "0.1 + 0.8"),
        ({"model": "unknown size", "output_limit": 1}, "0.1 + 0.002"),
        ({"model": "unknown size"}, f"0.1 + {ASSUMED_OUTPUT * 2 / 1000}"),
        (
            {"model": "unknown size", "referenced": True, "output_limit": 1},
            f"{ASSUMED_WINDOW / 1000} + 0.002",
        ),
        ({"tool_calls": 2, "output_limit": 1}, "15 + 0.022"),
        (
            {"tool_calls": None, "output_limit": 1},
            "5 + 0.002 + 0.1",
        ),
        ({"model": "tiered", "output_limit": 1}, "0.25 + 0.004"),
        ({"model": "tiered", "output_limit": 1, "service_tier": "auto"}, "0.25 + 0.004"),
        ({"model": "tiered", "output_limit": 1, "service_tier": "default"}, "0.125 + 0.002"),
        ({"model": "tiered", "output_limit": 1, "service_tier": "flex"}, "0.125 + 0.002"),
        ({"model": "tiered", "body_bytes": 500, "output_limit": 1}, "1.25 + 0.004"),
        ({"model": "tiered", "body_bytes": 501, "output_limit": 1}, "3.006 + 0.01"),
        ({"model": "tiered", "long_cache": True, "output_limit": 1}, "0.8 + 0.004"),
        ({"model": "tiered", "media": True, "output_limit": 1}, "1.8 + 0.004"),
        ({"model": "packed", "output_limit": 1}, "0.3 + 4 + 5.005"),
        ({"model": "graduated", "output_limit": 1}, "0.4 + 0.002"),
        ({"model": "by the call", "output_limit": 1}, "0.101 + 0.25"),
        ({"model": "dated", "output_limit": 1}, "0.1 + 0.001"),
        ({"model": "embedder", "outputs": 0}, "0.1 + 0"),
        ({"model": "painter", "images": 3}, "0.24 + 0"),
        ({"model": "speaker", "characters": 100}, "1.5 + 0"),
        ({"model": "sketcher", "images": 1}, "0.1 + 0.5"),
        ({"model": "painter", "plan": "own", "output_limit": 1, "images": 1}, "0.12 + 0"),
        ({"model": "listener", "audio_us": 3_600_000_000}, "0.36 + 0"),
    ],
)
def test_the_worst_case(bounds: dict[str, object], expected: str) -> None:
    reservation = reserve(**bounds)  # type: ignore[arg-type]
    assert reservation is not None
    assert reservation == sum(Decimal(part) for part in expected.split(" + "))


def test_prices_are_those_of_the_moment() -> None:
    later = reserve("dated", at=datetime(2026, 12, 1, tzinfo=UTC), output_limit=1)
    assert later is not None
    assert later == Decimal("1.001")


@pytest.mark.parametrize(
    ("model", "bounds"),
    [("nobody", {}), ("embedder", {}), ("painter", {}), ("speaker", {"images": 2})],
)
def test_what_has_no_price_has_no_worst_case(model: str, bounds: dict[str, object]) -> None:
    assert reserve(model, **bounds) is None  # type: ignore[arg-type]


def test_what_is_free_costs_nothing() -> None:
    assert Reserver(BOOK).reserve("default", FREE, AT_US) == Decimal(0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.core.reservations._MEMORY", 2)
    reserver = Reserver(BOOK)
    for tier in (None, "flex", "priority", "default"):
        for model in ("plain", "tiered", "packed", "nobody"):
            bounds = Bounds(model=model, service_tier=tier, output_limit=1)
            assert (reserver.reserve("default", bounds, AT_US) is None) is (model == "nobody")
    again = Bounds(model="packed", service_tier="default", output_limit=1)
    assert reserver.reserve("default", again, AT_US) == reserver.reserve("default", again, AT_US)
    assert len(reserver._entries) <= 2
    assert len(reserver._terms) <= 2
    assert len(reserver._alike) <= 2


def test_what_has_a_long_name_is_not_remembered() -> None:
    reserver = Reserver(BOOK)
    long = Bounds(model="plain", service_tier="x" * 300, output_limit=1)
    assert reserver.reserve("default", long, AT_US) == Decimal("0.002")
    assert reserver._entries == reserver._terms == reserver._alike == {}


def test_tokens_that_rate_limits_expect() -> None:
    assert expected_tokens(Bounds(body_bytes=401)) == 101
    assert expected_tokens(Bounds(body_bytes=400, output_limit=10, outputs=3)) == 130


def test_near_names() -> None:
    assert nearest_names(BOOK, "widowed").startswith(", such as windowed")
    assert nearest_names(BOOK, "zzz") == ""


def series(type_: str, quantity: int, window: dict[str, str], metric: Metric) -> SeriesSum:
    return SeriesSum(
        window=0,
        segment_id=1,
        metric=metric,
        type=type_,
        model_requested="",
        source="exact",
        quantity=quantity,
        **window,
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Bounds, list[SeriesSum], list[SeriesSum]]:
    """A plan, bounds, usage within them, and what was used before it in the same pools."""
    plan = draw(st.sampled_from(["default", "own"]))
    bounds = Bounds(
        model=draw(st.sampled_from(MODELS)),
        body_bytes=draw(st.integers(0, 2000)),
        outputs=draw(st.integers(1, 3)),
        output_limit=draw(st.integers(0, 1500)),
        service_tier=draw(st.sampled_from([None, "auto", "default", "flex", "priority"])),
        media=draw(st.booleans()),
        long_cache=draw(st.booleans()),
        tool_calls=draw(st.integers(0, 2)),
        prompts=draw(st.integers(1, 4)),
    )
    asked = bounds.service_tier
    tiers = ["default", asked] if asked not in {None, "auto"} else ["flex", "priority", "batch", ""]
    window = BOOK.models[bounds.model].context_window
    most = bounds.body_bytes
    if window is not None:
        # Each prompt has a window of its own; together they are no more than the body.
        most = min(most, window * bounds.prompts)
    if bounds.tool_calls:
        most = (window or ASSUMED_WINDOW) * bounds.prompts * (1 + bounds.tool_calls)
    into = IN + (LONG if bounds.long_cache else ()) + (MEDIA_IN if bounds.media else ())
    out = (TokenType.OUTPUT, *(MEDIA_OUT if bounds.media else ()))
    parts = split(draw, into, most) | split(draw, out, (bounds.output_limit or 0) * bounds.outputs)
    input_tokens = sum(parts[kind] for kind in into)
    dimensions = {
        "plan": plan,
        "model": bounds.model,
        "service_tier": str(draw(st.sampled_from(tiers))),
        "context_class": BOOK.context_class(bounds.model, None, input_tokens),
    }
    used = [series(kind, quantity, dimensions, Metric.TOKENS) for kind, quantity in parts.items()]
    used.append(series(RequestState.EXACT, 1, dimensions, Metric.REQUESTS))
    calls = draw(st.integers(0, bounds.tool_calls or 0))
    used.append(series("web_search", calls, dimensions, Metric.TOOL_CALLS))
    before = [series(kind, draw(st.integers(0, 3000)), dimensions, Metric.TOKENS) for kind in parts]
    return plan, bounds, used, before


def split(draw: st.DrawFn, kinds: tuple[TokenType, ...], most: int) -> dict[TokenType, int]:
    parts, left = {}, most
    for kind in draw(st.permutations(kinds)):
        parts[kind] = draw(st.integers(0, left))
        left -= parts[kind]
    return parts


def cost(sums: list[SeriesSum]) -> Decimal:
    amounts = [line.amount for line in rate(BOOK, sums, [AT])]
    assert None not in amounts
    return total([amount for amount in amounts if amount is not None])


@st.composite
def likes(draw: st.DrawFn) -> list[tuple[Bounds, int]]:
    """Requests that differ in their length, their output limit and their time alone, maybe."""
    like = Bounds(
        model=draw(st.sampled_from((*MODELS, "dated", "unknown size", "embedder", "sketcher"))),
        outputs=draw(st.integers(0, 2)),
        referenced=draw(st.booleans()),
        tool_calls=draw(st.sampled_from([0, 0, 0, 2, None])),
        images=draw(st.integers(0, 1)),
        prompts=draw(st.integers(1, 3)),
    )
    lengths = st.integers(0, 1100) | st.sampled_from([400, 500, 501, 999, 1000, 10**6])
    limits = st.none() | st.integers(0, 2000)
    days = st.sampled_from([-30, 0, 15, 16, 17, 400])
    several = draw(st.lists(st.tuples(lengths, limits, days), min_size=2, max_size=6))
    return [
        (like._replace(body_bytes=length, output_limit=limit), AT_US + day * 86_400_000_000)
        for length, limit, day in several
    ]


@settings(max_examples=400)
@given(likes())
def test_what_is_remembered_of_its_like_holds_for_each(likes: list[tuple[Bounds, int]]) -> None:
    remembering = Reserver(BOOK)
    for bounds, at_us in likes:
        worked_out = Reserver(BOOK).reserve("own", bounds, at_us)
        assert remembering.reserve("own", bounds, at_us) == worked_out
        assert remembering.reserve("own", bounds, at_us) == worked_out


@settings(max_examples=400)
@given(requests())
def test_nothing_within_the_bounds_costs_more(
    request: tuple[str, Bounds, list[SeriesSum], list[SeriesSum]],
) -> None:
    """Neither alone, nor on top of what was used before: in packages, tiers or neither."""
    plan, bounds, used, before = request
    reservation = Reserver(BOOK).reserve(plan, bounds, AT_US)
    assert reservation is not None
    assert reservation >= cost(used)
    added = EXACT.subtract(cost([*before, *used]), cost(before))
    assert reservation >= added - Decimal("1e-24")
