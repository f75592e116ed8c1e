"""Customers, as operators make and correct them."""

from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import FAILED, MISUSED
from tests.cli.conftest import Weighbridge


def customer(weighbridge: Weighbridge) -> dict[str, Any]:
    (one,) = weighbridge("customers", "list", "--json").json()
    assert isinstance(one, dict)
    return one


def test_making_one_again_discards_nothing_silently(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    given = ("--timezone", "America/New_York", "--name", "Acme Inc.")
    ran = weighbridge("customers", "create", "acme", *given)
    assert ran.status == FAILED
    assert "with no name and timezone 'UTC'" in ran.err
    assert "`weighbridge customers change`" in ran.err
    assert weighbridge("customers", "change", "acme", *given).status == 0
    made = customer(weighbridge)
    assert (made["name"], made["timezone"]) == ("Acme Inc.", "America/New_York")
    again = weighbridge("customers", "create", "acme", *given)
    assert again.status == 0
    assert "Customer acme: Acme Inc., USD, America/New_York." in again.out
    assert customer(weighbridge) == made


def test_changes_are_told(weighbridge: Weighbridge) -> None:
    weighbridge("customers", "create", "acme", "--email", "a@acme.example")
    ran = weighbridge("customers", "change", "acme", "--email", "", "--name", "Acme")
    assert ran.out == "Customer acme: Acme, USD, UTC.\n"
    assert customer(weighbridge)["email"] == ""
    ran = weighbridge("customers", "change", "acme")
    assert (ran.status, "give one or more of --name" in ran.err) == (MISUSED, True)
    ran = weighbridge("customers", "change", "acmee", "--name", "Acme")
    assert (ran.status, "no customer 'acmee'" in ran.err) == (FAILED, True)


@pytest.mark.parametrize("command", ["create", "change"])
def test_everyone_is_billed_in_the_currency_of_the_prices(
    weighbridge: Weighbridge, command: str
) -> None:
    if command == "change":
        weighbridge("customers", "create", "acme")
    for other in ("EUR", "usd", "dollars"):
        ran = weighbridge("customers", command, "acme", "--currency", other)
        assert ran.status == MISUSED
        assert "pricing.toml is in USD, and everyone is billed in it, so a customer's" in ran.err
        assert f"can't be {other}: leave --currency out" in ran.err
    assert weighbridge("customers", command, "acme", "--currency", "USD").status == 0
    assert customer(weighbridge)["currency"] == "USD"


@pytest.mark.parametrize(
    "made_by", [("customers", "create", "acme"), ("keys", "create", "--customer", "acme")]
)
def test_the_prices_say_the_currency(
    weighbridge: Weighbridge, tmp_path: Path, made_by: tuple[str, ...]
) -> None:
    prices = tmp_path / "pricing.toml"
    prices.write_text(prices.read_text().replace('"USD"', '"EUR"'))
    weighbridge(*made_by)
    assert customer(weighbridge)["currency"] == "EUR"
    assert weighbridge("customers", "create", "acme", "--currency", "EUR").status == 0


def test_without_prices_a_currency_is_taken_as_given(
    weighbridge: Weighbridge, tmp_path: Path
) -> None:
    (tmp_path / "pricing.toml").unlink()
    assert weighbridge("customers", "create", "acme", "--currency", "EUR").status == 0
    assert customer(weighbridge)["currency"] == "EUR"
