"""``weighbridge verify``, ``backup`` and ``prune``, as an operator runs them."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.__main__ import FAILED, MISUSED
from tests.cli.conftest import Weighbridge


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_sound_ledger_verifies(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("verify")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("No difference in 0 events")
    assert weighbridge("verify", "--json").json() == {
        "ok": True,
        "differences": [],
        "checked": {
            "events": 0,
            "sums": 0,
            "requests": 0,
            "objects": 0,
            "closed_periods": 0,
            "limits": 0,
        },
    }


def test_each_difference_is_a_line(weighbridge: Weighbridge, tmp_path: Path) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    change(tmp_path / "ledger.db", "INSERT INTO sums_day VALUES (7, 20000, 5)")
    ran = weighbridge("verify")
    assert ran.status == FAILED
    first, last = ran.out.splitlines()
    assert first == (
        "day: series 7 (of no subscription) at 2024-10-04T00:00:00Z: kept 5, should be 0"
    )
    assert last.startswith("1 differences in")
    ran = weighbridge("verify", "--json")
    assert ran.status == FAILED
    assert not ran.json()["ok"]
    assert ran.json()["differences"][0]["kept"] == "5"


def test_a_backup_is_a_ledger(
    weighbridge: Weighbridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    copy = tmp_path / "copy.db"
    ran = weighbridge("backup", str(copy))
    assert ran.status == 0
    assert f"{copy.stat().st_size:,} bytes" in ran.out
    again = weighbridge("backup", str(copy))
    assert (again.status, again.out) == (FAILED, "")
    assert "is there already" in again.err
    monkeypatch.setenv("PROXY_DATABASE_URL", f"sqlite:///{copy}")
    assert weighbridge("verify").status == 0
    assert weighbridge("keys", "list", "--json").json()[0]["customer"] == "acme"


def test_pruning_says_what_went(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("prune", "--before", "2026-10")
    assert (ran.status, ran.out) == (0, "0 events and 0 requests went.\n")
    assert "no period that ended by 2026-10 is closed" in ran.err
    counts = weighbridge("prune", "--before", "2026-10-15", "--json").json()
    assert counts == {"subscriptions": 0, "events": 0, "requests": 0}


@pytest.mark.parametrize("text", ["october", "2026", "2026-13", ""])
def test_a_day_that_is_none_is_said(weighbridge: Weighbridge, text: str) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("prune", "--before", text)
    assert ran.status == MISUSED
    assert "is no month and no day: write 2026-10 or 2026-10-15" in ran.err


COMMANDS = [
    ("verify",),
    ("backup", "copy.db"),
    ("prune", "--before", "2026-10"),
    ("keys", "list"),
    ("usage", "acme"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_newer_ledger_is_refused_politely(
    weighbridge: Weighbridge, tmp_path: Path, command: tuple[str, ...]
) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    change(tmp_path / "ledger.db", "PRAGMA user_version = 999")
    before = (tmp_path / "ledger.db").read_bytes()
    ran = weighbridge(*command)
    assert (ran.status, ran.out) == (MISUSED, "")
    assert "schema is version 999" in ran.err
    assert "run the program that wrote it, or a later one" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert (tmp_path / "ledger.db").read_bytes() == before


READING = [
    ("keys", "revoke", "wb-1"),
    ("customers", "list"),
    ("customers", "change", "acme", "--name", "Acme"),
    ("subscriptions", "list"),
    ("subscriptions", "change-plan", "acme", "pro"),
    ("limits", "show"),
    ("limits", "set", "acme", "--concurrent", "1"),
    ("limits", "clear", "acme"),
    ("invoice", "acme"),
    ("periods", "close"),
    ("periods", "list"),
    ("prices", "diff"),
    ("prices", "explain", "wb_0000000000001"),
    ("requests", "show", "wb_0000000000001"),
]


@pytest.mark.parametrize("command", [*COMMANDS, *READING], ids=" ".join)
def test_a_ledger_that_is_not_there_is_not_made(
    weighbridge: Weighbridge, tmp_path: Path, command: tuple[str, ...]
) -> None:
    ran = weighbridge(*command)
    assert ran.status == FAILED
    assert f"There is no ledger at {tmp_path / 'ledger.db'}" in ran.err
    assert list(tmp_path.iterdir()) == [tmp_path / "pricing.toml"]


def test_prices_before_the_first_start_are_the_file_s(
    weighbridge: Weighbridge, tmp_path: Path
) -> None:
    assert "2.50" in weighbridge("prices", "show", "gpt-4o").out
    ran = weighbridge("prices", "diff")
    assert "so no prices are in force yet, and " in ran.err
    assert "is good: 'weighbridge serve' adopts the pricing file" in ran.err
    assert not (tmp_path / "ledger.db").exists()
    weighbridge("keys", "create", "--customer", "acme")
    assert "weighbridge: No prices are in force yet" in weighbridge("prices", "diff").err


@pytest.mark.parametrize(
    "command",
    [
        ("usage", "acmee"),
        ("invoice", "acmee"),
        ("limits", "show", "acmee"),
        ("periods", "list", "--subscription", "acmee"),
        ("periods", "close", "--subscription", "acmee"),
    ],
    ids=" ".join,
)
def test_a_mistyped_subscription_is_not_answered_as_a_fact(
    weighbridge: Weighbridge, command: tuple[str, ...]
) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    for options in ((), ("--json",)) if command[0] != "invoice" else ((),):
        ran = weighbridge(*command, *options)
        assert (ran.status, ran.out) == (FAILED, "")
        assert "There is no subscription" in ran.err
        assert "'weighbridge subscriptions list' shows" in ran.err


@pytest.mark.parametrize(
    "command", [("serve", "--port", "0"), ("keys", "create", "--customer", "acme")], ids=" ".join
)
def test_a_ledger_that_can_t_be_made_is_told_by_its_path(
    weighbridge: Weighbridge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    database = tmp_path / "none" / "ledger.db"
    monkeypatch.setenv("PROXY_DATABASE_URL", f"sqlite:///{database}")
    ran = weighbridge(*command)
    assert (ran.status, ran.out) == (FAILED, "")
    assert ran.err == (
        f"weighbridge: The ledger {database} can't be used: there is no folder {database.parent}; "
        "make it first, or name another one.\n"
    )


def test_a_ledger_that_may_not_be_written_is_told_by_its_path(
    weighbridge: Weighbridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = str(tmp_path / "ledger.db.lock")
    really = os.open

    def guarded(path: str | Path, *rest: int) -> int:
        if str(path) == lock:
            raise PermissionError(errno.EACCES, "Permission denied", lock)
        return really(path, *rest)

    monkeypatch.setattr("os.open", guarded)
    ran = weighbridge("keys", "create", "--customer", "acme")
    assert ran.status == FAILED
    assert ran.err == (
        f"weighbridge: The ledger {tmp_path / 'ledger.db'} can't be used: {lock} can't be written "
        "(Permission denied); make it and its folder writable for the user who runs this.\n"
    )
