"""Keys, customers and subscriptions, as operators make and list them."""

import asyncio
import hashlib
import re
import sqlite3
from pathlib import Path

import pytest

from proxy.__main__ import FAILED, MISUSED
from proxy.ledger.sqlite import SqliteLedger
from tests.cli.conftest import Weighbridge

SECRET = re.compile(r"wb-[\w-]{43}")


def test_key_makes_what_is_missing(weighbridge: Weighbridge) -> None:
    made = weighbridge("keys", "create", "--customer", "acme", "--name", "laptop", "--json").json()
    assert SECRET.fullmatch(made["secret"])
    assert made["secret"].startswith(made["prefix"])
    assert (made["customer"], made["subscription"], made["plan"]) == ("acme", "acme", "default")
    assert made["name"] == "laptop"
    assert set(made) == {"secret", "subscription", "customer", "plan", "prefix", "name", "id"}
    assert weighbridge("customers", "list", "--json").json()[0]["customer"] == "acme"
    assert weighbridge("subscriptions", "list", "--json").json()[0]["subscription"] == "acme"


def test_secret_is_printed_once_and_never_kept(weighbridge: Weighbridge, tmp_path: Path) -> None:
    ran = weighbridge("keys", "create", "--customer", "acme")
    secrets = set(SECRET.findall(ran.out))
    assert len(secrets) == 1
    (secret,) = secrets
    assert "weighbridge usage acme" in ran.out
    assert secret not in weighbridge("keys", "list").out
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.db*"))
    assert secret.encode() not in kept
    assert secret[20:].encode() not in kept
    assert hashlib.sha256(secret.encode()).digest() in kept


def test_second_key_joins_the_subscription(weighbridge: Weighbridge) -> None:
    first = weighbridge("keys", "create", "--customer", "acme", "--plan", "pro", "--json").json()
    second = weighbridge("keys", "create", "--customer", "acme", "--json").json()
    assert second["plan"] == first["plan"] == "pro"
    assert second["secret"] != first["secret"]
    assert len(weighbridge("keys", "list", "--json").json()) == 2
    assert len(weighbridge("subscriptions", "list", "--json").json()) == 1


def test_a_subscription_of_its_own(weighbridge: Weighbridge) -> None:
    made = weighbridge(
        "keys", "create", "--customer", "acme", "--subscription", "acme-eu", "--json"
    ).json()
    assert (made["customer"], made["subscription"]) == ("acme", "acme-eu")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--customer", "acme", "--plan", "gold"], "has no plan gold: take one of default, pro"),
        (["--customer", "there", "--plan", "pro"], "is on plan default, not pro"),
        (["--customer", "other", "--subscription", "there"], "is customer there's"),
    ],
)
def test_contradictions_are_refused(
    weighbridge: Weighbridge, arguments: list[str], said: str
) -> None:
    weighbridge("keys", "create", "--customer", "there")
    ran = weighbridge("keys", "create", *arguments)
    assert ran.status == FAILED
    assert said in ran.err
    assert ran.out == ""
    assert len(weighbridge("keys", "list", "--json").json()) == 1


@pytest.mark.parametrize("named_by", ["prefix", "id", "secret"])
def test_revoke(weighbridge: Weighbridge, named_by: str) -> None:
    made = weighbridge("keys", "create", "--customer", "acme", "--json").json()
    ran = weighbridge("keys", "revoke", str(made[named_by]))
    assert ran.status == 0
    assert made["secret"] not in ran.out
    (record,) = weighbridge("keys", "list", "--json").json()
    assert record["revoked_at"]


def test_revoking_what_is_not_there(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("keys", "revoke", "wb-nothing00")
    assert ran.status == FAILED
    assert "wb-nothing00" in ran.err


def test_key_without_customer_is_misuse(weighbridge: Weighbridge) -> None:
    assert weighbridge("keys", "create").status == MISUSED


@pytest.mark.parametrize("group", ["keys", "customers", "subscriptions"])
async def test_empty_lists_say_what_to_do(
    weighbridge: Weighbridge, tmp_path: Path, group: str
) -> None:
    await (await SqliteLedger.open_database(tmp_path / "ledger.db")).close()
    await asyncio.to_thread(check_empty_list, weighbridge, group)


def check_empty_list(weighbridge: Weighbridge, group: str) -> None:
    assert "weighbridge keys create --customer acme" in weighbridge(group, "list").out
    assert weighbridge(group, "list", "--json").json() == []


def test_customer_and_subscription_by_themselves(weighbridge: Weighbridge) -> None:
    made = weighbridge(
        "customers", "create", "acme", "--name", "Acme Inc.", "--timezone", "America/New_York"
    )
    assert "America/New_York" in made.out
    assert (
        "plan pro"
        in weighbridge("subscriptions", "create", "team", "--customer", "acme", "--plan", "pro").out
    )
    assert "Acme Inc." in weighbridge("customers", "list").out
    assert "team" in weighbridge("subscriptions", "list").out


def test_names_that_look_like_markup_are_shown_as_they_are(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "[red]acme[/red]", "--name", ":warning:")
    out = weighbridge("keys", "list").out
    assert "[red]acme[/red]" in out
    assert ":warning:" in out


def test_a_ledger_that_is_none_is_told(weighbridge: Weighbridge, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database, but text" * 100)
    ran = weighbridge("keys", "list")
    assert ran.status == FAILED
    assert "not an SQLite file" in ran.err
    assert "Traceback" not in ran.err
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "ledger.db").execute("select * from sqlite_master")
