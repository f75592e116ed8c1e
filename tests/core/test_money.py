from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.money import (
    PLACES,
    apportion,
    decimal_text,
    exact,
    half_up,
    minor_digits,
    ratio,
    total,
)

amounts = st.lists(
    st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False), min_size=1, max_size=20
)


@pytest.mark.parametrize(
    ("amount", "digits", "rounded"),
    [("0.005", 2, "0.01"), ("0.0049", 2, "0.00"), ("2.5", 0, "3"), ("1.0005", 3, "1.001")],
)
def test_half_goes_up(amount: str, digits: int, rounded: str) -> None:
    assert half_up(Decimal(amount), digits) == Decimal(rounded)
    assert str(half_up(Decimal(amount), digits)) == rounded


@pytest.mark.parametrize(
    ("amount", "at_least", "text"),
    [
        ("0.001280", 2, "0.00128"),
        ("15", 2, "15.00"),
        ("1E+3", 0, "1000"),
        ("1E+3", 2, "1000.00"),
        ("7.50", 0, "7.5"),
        ("0", 0, "0"),
    ],
)
def test_decimal_text(amount: str, at_least: int, text: str) -> None:
    assert decimal_text(Decimal(amount), at_least) == text


@pytest.mark.parametrize(("currency", "digits"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("XYZ", 2)])
def test_minor_digits(currency: str, digits: int) -> None:
    assert minor_digits(currency) == digits


def test_ratio_is_exact_where_it_ends_and_bounded_where_not() -> None:
    assert ratio(Decimal(1), 1_000_000) == Decimal("0.000001")
    assert ratio(Decimal(1), 3) == Decimal("0." + "3" * PLACES)


def test_total_keeps_every_digit() -> None:
    small, large = Decimal("1E-30"), Decimal(10**25)
    with exact():
        expected = small + large
    assert total([small, large]) == expected
    assert total([]) == 0


@given(amounts, st.sampled_from([0, 2, 3]))
def test_apportioned_cents_add_up_and_stay_near(parts: list[Decimal], digits: int) -> None:
    whole = half_up(total(parts), digits)
    cents = apportion(parts, whole, digits)
    unit = Decimal(1).scaleb(-digits)
    assert total(cents) == whole
    assert all(c >= 0 and abs(c - p) <= unit for c, p in zip(cents, parts, strict=True))
    assert all(c == half_up(c, digits) for c in cents)


def test_largest_remainder_gets_the_cent_first_of_equals_first() -> None:
    parts = [Decimal("0.004"), Decimal("0.008"), Decimal("0.008")]
    assert apportion(parts, Decimal("0.02"), 2) == [0, Decimal("0.01"), Decimal("0.01")]
    thirds = [Decimal("0.005")] * 3
    assert apportion(thirds, Decimal("0.02"), 2) == [Decimal("0.01"), Decimal("0.01"), 0]
