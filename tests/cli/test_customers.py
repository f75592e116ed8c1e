"""Customers, as operators make and correct them."""

from typing import Any

from proxy.__main__ import FAILED
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
    assert (ran.status, "give one or more of --name" in ran.err) == (FAILED, True)
    ran = weighbridge("customers", "change", "acmee", "--name", "Acme")
    assert (ran.status, "no customer 'acmee'" in ran.err) == (FAILED, True)
