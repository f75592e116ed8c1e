"""Subscriptions and their plans: those in force count, not those of an edit that is not adopted."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.__main__ import FAILED
from proxy.ledger.sqlite import SqliteLedger
from tests.cli.conftest import PRICES, Weighbridge

PLAN = "[plans.pro]\nmarkup = 1.20\n"
WITHOUT = PRICES.replace(PLAN, "")
NAMING = [
    ("keys", "create", "--customer", "new", "--plan", "pro"),
    ("subscriptions", "create", "new", "--customer", "acme", "--plan", "pro"),
    ("subscriptions", "change-plan", "acme", "pro"),
    ("prices", "show", "gpt-4o", "--plan", "pro"),
]
Adopt = Callable[[str], None]


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    """Have a proxy adopt prices, whatever the file says."""

    async def adopt_text(text: str) -> None:
        ledger = await SqliteLedger.open_database(tmp_path / "ledger.db", worker=False)
        await ledger.adopt_book(text, "hash")
        await ledger.close()

    return lambda text: asyncio.run(adopt_text(text))


def plans(weighbridge: Weighbridge) -> dict[str, str]:
    rows = weighbridge("subscriptions", "list", "--json").json()
    return {row["subscription"]: row["plan"] for row in rows}


@pytest.mark.parametrize("command", NAMING, ids=" ".join)
def test_a_plan_that_only_the_file_has_is_not_in_force(
    weighbridge: Weighbridge, adopt: Adopt, command: tuple[str, ...]
) -> None:
    """It would be billed as the default plan, and say that it is on the other."""
    weighbridge("keys", "create", "--customer", "acme")
    adopt(WITHOUT)
    ran = weighbridge(*command)
    assert (ran.status, ran.out) == (FAILED, "")
    assert "There is no plan pro in force: take one of default, or add it to" in ran.err
    assert "'weighbridge prices diff' shows what it has not adopted" in ran.err
    assert plans(weighbridge) == {"acme": "default"}


@pytest.mark.parametrize("text", [WITHOUT, "currency = ", None], ids=["without", "bad", "none"])
@pytest.mark.parametrize("command", NAMING, ids=" ".join)
def test_a_plan_in_force_is_one_whatever_the_file_says(
    weighbridge: Weighbridge,
    adopt: Adopt,
    tmp_path: Path,
    command: tuple[str, ...],
    text: str | None,
) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    adopt(PRICES)
    file = tmp_path / "pricing.toml"
    file.unlink() if text is None else file.write_text(text)
    assert weighbridge(*command).status == 0


def test_the_diff_counts_who_is_on_a_plan_that_is_removed(
    weighbridge: Weighbridge, adopt: Adopt, tmp_path: Path
) -> None:
    weighbridge("keys", "create", "--customer", "acme", "--plan", "pro")
    adopt(PRICES)
    (tmp_path / "pricing.toml").write_text(WITHOUT)
    (line,) = weighbridge("prices", "diff", "--json").json()["changes"]
    assert line.startswith("plan pro removed; subscriptions on it (1) are billed as default")
    assert weighbridge("prices", "diff").out == f"{line}\n"


def test_making_one_that_is_there_changes_nothing(weighbridge: Weighbridge) -> None:
    create = ("subscriptions", "create", "acme", "--customer")
    weighbridge(*create, "acme", "--plan", "pro")
    for again in ((), ("--plan", "pro")):
        ran = weighbridge(*create, "acme", *again)
        assert (ran.status, ran.err) == (0, "")
        assert "Subscription acme: customer acme, plan pro." in ran.out
    ran = weighbridge(*create, "acme", "--plan", "default")
    assert ran.status == FAILED
    assert "is on plan pro, not default: leave --plan out, name another" in ran.err
    assert "'weighbridge subscriptions change-plan acme default'" in ran.err
    ran = weighbridge(*create, "other")
    assert (ran.status, "is customer acme's: name another" in ran.err) == (FAILED, True)
    assert plans(weighbridge) == {"acme": "pro"}


@pytest.mark.parametrize("command", [NAMING[0], NAMING[3]], ids=" ".join)
def test_before_the_proxy_first_ran_the_file_says_which_plans_there_are(
    weighbridge: Weighbridge, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "pricing.toml").write_text(WITHOUT)
    ran = weighbridge(*command)
    assert ran.status == FAILED
    assert "pricing.toml has no plan pro: take one of default, or add it there" in ran.err
    (tmp_path / "pricing.toml").write_text(PRICES)
    assert weighbridge(*command).status == 0
