"""``weighbridge check``: settings and prices, before they matter."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.__main__ import FAILED, MISUSED
from tests.cli.conftest import PRICES, Weighbridge
from tests.periods.office import open_office


def test_all_is_well(weighbridge: Weighbridge) -> None:
    ran = weighbridge("check")
    assert (ran.status, ran.err) == (0, "")
    assert "passthrough" in ran.out
    assert "1 models" in ran.out
    assert "weighbridge serve" in ran.out


def test_bad_price_is_told_with_its_place(weighbridge: Weighbridge, tmp_path: Path) -> None:
    (tmp_path / "pricing.toml").write_text('currency = "USD"\n[models."o1"]\ninput = "dear"\n')
    ran = weighbridge("check")
    assert ran.status == FAILED
    assert "pricing.toml" in ran.err
    assert "3" in ran.err
    assert "input" in ran.err


def test_missing_prices(weighbridge: Weighbridge, tmp_path: Path) -> None:
    (tmp_path / "pricing.toml").unlink()
    ran = weighbridge("check")
    assert ran.status == FAILED
    assert "PROXY_PRICING_FILE" in ran.err


def test_bad_setting(weighbridge: Weighbridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_WORKERS", "none")
    assert weighbridge("check").status == MISUSED


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROXY_UPSTREAM_BASE_URL", "https://host", "most end in /v1"),
        ("PROXY_ADMIN_TOKEN", "short", "PROXY_ADMIN_TOKEN is short"),
        ("PROXY_UPSTREAM_KEY", "x", "PROXY_UPSTREAM_KEY is set, but there is no such setting"),
    ],
)
def test_what_works_but_is_odd_is_warned_of(
    weighbridge: Weighbridge, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    ran = weighbridge("check")
    assert ran.status == 0
    assert said in ran.err


async def _use(ledger: Path) -> None:
    async with open_office(ledger) as office:
        await office.adopt(PRICES)
        await office.use(await office.customer(), "2026-11-03", input=1)


def test_a_ledger_of_an_older_program_is_looked_at_as_it_is(
    weighbridge: Weighbridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = (Path(__file__).parents[1] / "ledger" / "schemas" / "0001.sql").read_text()
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(released)
    before = path.read_bytes()
    monkeypatch.setenv("PROXY_DATABASE_URL", f"sqlite:///{path}")
    ran = weighbridge("check")
    assert (ran.status, ran.err) == (0, "")
    assert path.read_bytes() == before


def test_prices_that_the_ledger_can_not_take_are_told(
    weighbridge: Weighbridge, tmp_path: Path
) -> None:
    asyncio.run(_use(tmp_path / "ledger.db"))
    assert weighbridge("check").status == 0
    (tmp_path / "pricing.toml").write_text(PRICES.replace("USD", "EUR"))
    ran = weighbridge("check")
    assert ran.status == FAILED
    assert "pricing.toml:2:1: currency: usage is in the ledger" in ran.err
    diff = weighbridge("prices", "diff")
    assert (diff.status, diff.out) == (0, "currency USD -> EUR\n")
    assert "pricing.toml:2:1: currency: usage is in the ledger" in diff.err
    as_json = weighbridge("prices", "diff", "--json").json()
    assert as_json["changes"] == ["currency USD -> EUR"]
    assert "currency: usage is in the ledger" in as_json["refused"]
    (tmp_path / "pricing.toml").write_text(PRICES)
    assert weighbridge("prices", "diff", "--json").json()["refused"] is None


def test_prices_that_a_plan_hides_are_told_and_taken(
    weighbridge: Weighbridge, tmp_path: Path
) -> None:
    asyncio.run(_use(tmp_path / "ledger.db"))
    tier = "service_tiers = { priority = { output = 25 } }"
    text = PRICES.replace("output = 10.00", f"output = 10.00\n{tier}")
    (tmp_path / "pricing.toml").write_text(f'{text}models."gpt-4o".output = 9\n')
    hidden = "plan pro gpt-4o output: 9.00 at priority, where the model has 25.00"
    ran = weighbridge("check")
    assert (ran.status, ran.err) == (0, f"weighbridge: {hidden}\n")
    diff = weighbridge("prices", "diff")
    assert (diff.status, diff.err) == (0, f"weighbridge: {hidden}\n")
    as_json = weighbridge("prices", "diff", "--json").json()
    assert (as_json["hidden"], as_json["refused"]) == ([hidden], None)
