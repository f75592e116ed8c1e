"""Whether a session may go on: there must be room for its next answer."""

from decimal import Decimal

import pytest

from proxy.core.budgets import LimitStanding, no_room
from proxy.core.limits import FOREVER_US, Caps, LimitState, Spend, Window
from proxy.core.plans import Limits


def standing(spent: str, reserved: str, prefix: str | None = None) -> LimitStanding:
    spends = tuple(
        Spend(window, 0, FOREVER_US, Decimal(spent), Decimal(reserved))
        for window in (Window.DAY, Window.TOTAL)
    )
    return LimitStanding(
        subscription="acme",
        prefix=prefix,
        plan="default",
        caps=Caps.of(Limits(spend_total=Decimal(10))),
        overrides={},
        state=LimitState(spends),
        assumed_output=None,
    )


@pytest.mark.parametrize(
    ("spent", "reserved", "ends"), [("9", "1", False), ("9", "1.01", True), ("10.01", "0", True)]
)
def test_what_is_reserved_must_still_fit(spent: str, reserved: str, ends: bool) -> None:
    assert (no_room([standing("0", "0"), standing(spent, reserved)]) is not None) == ends


def test_it_says_whose_and_why() -> None:
    assert no_room([standing("12", "1", "wb-key")]) == (
        "wb-key has used 12.00 of its spend limit of 10.00 (total): the session ends."
    )
    assert no_room([]) is None
