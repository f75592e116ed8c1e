"""The worst case of requests that name other models besides their own."""

from decimal import Decimal

import pytest

from proxy.core.reservations import Bounds, Other, Reserver, not_named
from tests.core.test_reservations import AT_US, BOOK, amount, reserve


def other(model: str, limit: int | None = None, *, uses: int = 0, tool: bool = False) -> Other:
    return Other(model, "tools" if tool else "fallbacks", limit, tool=tool, uses=uses)


def test_each_that_takes_its_place_is_added() -> None:
    own = amount("plain", output_limit=10)
    more = amount("tiered", output_limit=10)
    last = amount("graduated", output_limit=10)
    both = (other("tiered"), other("graduated"))
    assert amount("plain", output_limit=10, others=both) == own + more + last
    assert amount("plain", output_limit=10, others=(other("plain"),)) == own + own


@pytest.mark.parametrize(
    ("asked", "own", "limit"), [(10, 30, 30), (30, 10, 30), (None, 30, None), (10, None, 10)]
)
def test_its_limit_is_the_larger_one(asked: int | None, own: int | None, limit: int | None) -> None:
    alone = amount("tiered", output_limit=limit)
    total = amount("plain", output_limit=asked, others=(other("tiered", own),))
    assert total == amount("plain", output_limit=asked) + alone


def test_what_a_tool_uses_comes_on_top_whatever_limits_the_answer() -> None:
    own = amount("plain", output_limit=10, tool_calls=None)
    for uses, times in ((0, 1), (3, 3)):
        advisor = other("plain", 70, uses=uses, tool=True)
        total = amount("plain", output_limit=10, tool_calls=None, others=(advisor,))
        assert total - own == times * (5000 * Decimal("0.001") + 70 * Decimal("0.002"))
    unlimited = other("plain", tool=True)
    total = amount("plain", output_limit=10, tool_calls=None, others=(unlimited,))
    assert total - own == 5000 * Decimal("0.001") + 300 * Decimal("0.002")
    thrice = amount("plain", output_limit=10, tool_calls=3, others=(unlimited,))
    assert thrice - amount("plain", output_limit=10, tool_calls=3) == 3 * (total - own)


def test_a_tool_that_is_billed_by_its_images() -> None:
    painter = other("painter", uses=2, tool=True)
    assert amount("plain", others=(painter,)) - amount("plain") == Decimal("0.16")


def test_one_without_price_has_none_and_is_named() -> None:
    reserver = Reserver(BOOK)
    for others, culprit in [
        ((other("tiered"), other("unheard of")), "unheard of"),
        ((other("unheard of", tool=True),), "unheard of"),
        ((other("tiered"), other("")), ""),
    ]:
        bounds = Bounds(model="plain", body_bytes=100, output_limit=1, others=others)
        assert reserver.reserve("default", bounds, AT_US) is None
        found = reserver.unpriced("default", bounds, AT_US)
        assert found is not None
        assert found.model == culprit
    alone = Bounds(model="unheard of", body_bytes=100, output_limit=1, others=(other("plain"),))
    assert reserver.reserve("default", alone, AT_US) is None
    assert reserver.unpriced("default", alone, AT_US) is None


def test_what_is_remembered_of_its_like_is_the_requests_own() -> None:
    reserver = Reserver(BOOK)
    bounds = Bounds(model="plain", body_bytes=100, output_limit=1)
    both = bounds._replace(others=(other("tiered"),))
    alone = reserver.reserve("default", bounds, AT_US)
    total = reserver.reserve("default", both, AT_US)
    assert [reserver.reserve("default", each, AT_US) for each in (bounds, both)] == [alone, total]
    assert total != alone == reserve(output_limit=1)


def test_what_leaves_models_open_is_told() -> None:
    told = not_named("fallbacks", "this key has a budget")
    assert "'fallbacks' leaves open which models are used, and this key has a budget." in told
    assert "Name each" in told
