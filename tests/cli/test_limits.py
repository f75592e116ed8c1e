"""Limits, as operators set, see and clear them."""

import pytest

from proxy.__main__ import FAILED, MISUSED
from tests.cli.conftest import Weighbridge


def make_key(weighbridge: Weighbridge) -> str:
    prefix: str = weighbridge("keys", "create", "--customer", "acme", "--json").json()["prefix"]
    return prefix


def test_set_show_and_clear(weighbridge: Weighbridge) -> None:
    make_key(weighbridge)
    assert "Nothing is limited" in weighbridge("limits", "show").out
    said = weighbridge(
        *("limits", "set", "acme", "--spend-per-period", "100", "--soft", "0.8", "--soft", "0.5"),
        *("--requests-per-minute", "60", "--concurrent", "4"),
    )
    assert "spend per period 100, requests per minute 60" in said.out
    assert "soft thresholds 0.5, 0.8" in said.out
    weighbridge("limits", "set", "acme", "--spend-total", "0.50", "--concurrent", "none")
    (shown,) = weighbridge("limits", "show", "acme", "--json").json()
    assert shown["subscription"] == "acme"
    assert shown["spend"]["period"]["limit"] == "100.00"
    assert shown["spend"]["total"]["remaining"] == "0.50"
    assert shown["soft_thresholds"] == ["0.5", "0.8"]
    assert shown["requests_per_minute"]["remaining"] == 60
    assert "concurrent_requests" not in shown
    table = weighbridge("limits", "show").out
    assert "spend, period" in table
    assert "requests per minute" in table
    usage = weighbridge("usage", "acme", "--json").json()
    assert usage["budget"]["spend"]["period"]["spent"] == "0.00"
    assert "as its plan says" in weighbridge("limits", "clear", "acme").out
    assert "Nothing was set" in weighbridge("limits", "clear", "acme").out
    assert weighbridge("usage", "acme", "--json").json()["budget"] is None


def test_limits_of_a_key(weighbridge: Weighbridge) -> None:
    prefix = make_key(weighbridge)
    said = weighbridge("limits", "set", "--key", prefix + "-the-rest-of-it", "--concurrent", "2")
    assert f"key {prefix}" in said.out
    (shown,) = weighbridge("limits", "show", "acme", "--json").json()
    assert (shown["key"], shown["concurrent_requests"]["limit"]) == (prefix, 2)
    assert "concurrent requests" in weighbridge("limits", "show").out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("acme",), "at least one"),
        ((), "Name a subscription"),
        (("acme", "--key", "wb-1", "--concurrent", "1"), "one of the two"),
        (("nobody", "--concurrent", "1"), "no subscription"),
        (("acme", "--spend-per-day", "ten"), "--spend-per-day is an amount"),
        (("acme", "--spend-per-day", "-1"), "--spend-per-day is an amount"),
        (("acme", "--spend-per-day", "NaN"), "--spend-per-day is an amount"),
        (("acme", "--concurrent", "0"), "--concurrent is a whole number"),
        (("acme", "--tokens-per-minute", "1.5"), "--tokens-per-minute is a whole number"),
        (("acme", "--concurrent", "1", "--soft", "80"), "--soft is a part"),
        (("acme", "--concurrent", "1", "--soft", "x"), "--soft is a part"),
    ],
)
def test_mistakes_are_explained(
    weighbridge: Weighbridge, arguments: tuple[str, ...], reason: str
) -> None:
    make_key(weighbridge)
    ran = weighbridge("limits", "set", *arguments)
    assert ran.status == (FAILED if "nobody" in arguments else MISUSED)
    assert reason in ran.err
