"""``weighbridge check``: settings and prices, before they matter."""

from pathlib import Path

import pytest

from proxy.__main__ import FAILED, MISUSED
from tests.cli.conftest import Weighbridge


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
