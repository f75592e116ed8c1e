"""Tuples that the hot path makes, slices and unpacks by position: their members have an order."""

from collections.abc import Sequence
from typing import Any

import pytest

from proxy.core.limits import Held, LimitState, Spend
from proxy.core.reservations import Bounds


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            LimitState,
            ["spends", "running", "requests_level_us", "tokens_level_us", "levels_at_us",
             "overruns"],
        ),
        (Spend, ["window", "start_us", "end_us", "spent", "reserved"]),
        (Held, ["opened_at_us", "amount", "tokens", "running"]),
        (
            Bounds,
            ["body_bytes", "output_limit", "model", "free", "referenced", "outputs",
             "service_tier", "media", "long_cache", "tool_calls", "images", "characters",
             "audio_us", "prompts", "others"],
        ),
    ],
)  # fmt: skip
def test_members_are_in_the_order_that_is_relied_upon(kind: Any, names: Sequence[str]) -> None:
    assert list(kind._fields) == names, (
        f"{kind.__name__} is taken by position, for speed, and by nothing else's check: look at "
        "core/limits, core/reservations, wire/bounds and ledger/limit_*, then change this list"
    )
