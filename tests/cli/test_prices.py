"""``weighbridge prices``: what is shown is in people's units, and complete."""

from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import MISUSED
from tests.cli.conftest import Weighbridge

PRICES = """
timezone = "America/New_York"
[tool_calls]
web_search = { price = 10, package_size = 1_000 }
[models.spoken]
audio_seconds = { price = 0.006, per = "minute", free_units = 90 }
[models.whisper]
input = { price = 2.50, free_units = 100_000 }
service_tiers = { flex = 0.5 }
[models.whisper.audio_seconds]
per = "minute"
mode = "graduated"
tiers = [{ up_to = 3_600, price = 0.006 }, { price = 0.003 }]
[[models.whisper.versions]]
effective_from = 2026-12-01
input = 2.00
"""


@pytest.fixture(autouse=True)
def prices(weighbridge: Weighbridge, tmp_path: Path) -> None:
    (tmp_path / "pricing.toml").write_text(PRICES)


def shown(weighbridge: Weighbridge, *options: str) -> list[dict[str, Any]]:
    rows = weighbridge("prices", "show", "whisper", "--json", *options).json()["prices"]
    return [{key: row[key] for key in ("type", "tier", "price", "per", "free")} for row in rows]


def test_all_that_a_model_costs_is_shown_in_people_s_units(weighbridge: Weighbridge) -> None:
    audio = {"type": "audio_seconds", "price": "0.006 to 3,600, 0.003", "per": "60", "free": ""}
    tokens = {"type": "input", "per": "1,000,000", "free": "100,000"}
    search = {"type": "tool_calls web_search", "tier": "default", "price": "10.00", "per": "1,000"}
    rows = shown(weighbridge, "--at", "2026-11-01")
    assert len(rows) == 5
    for row in (
        tokens | {"tier": "default", "price": "2.50"},
        tokens | {"tier": "flex", "price": "1.25"},
        audio | {"tier": "default"},
        audio | {"tier": "flex"},
        search | {"free": ""},
    ):
        assert row in rows
    out = weighbridge("prices", "show", "whisper").out
    assert "0.006 to 3,600, 0.003" in out
    assert "web_search" in out
    (row, _) = weighbridge("prices", "show", "spoken", "--json").json()["prices"]
    assert (row["price"], row["per"], row["free"]) == ("0.006", "60", "90")


@pytest.mark.parametrize(
    ("at", "price"),
    [
        ("2026-12-01", "2.00"),
        ("2026-11-30T23:59:59", "2.50"),
        ("2026-12-01T00:00:00", "2.00"),
        ("2026-12-01T04:59:59Z", "2.50"),
        ("2026-12-01T05:00:00Z", "2.00"),
    ],
)
def test_a_time_without_an_offset_is_the_file_s(
    weighbridge: Weighbridge, at: str, price: str
) -> None:
    (row,) = [
        row
        for row in shown(weighbridge, "--at", at)
        if (row["type"], row["tier"]) == ("input", "default")
    ]
    assert row["price"] == price


@pytest.mark.parametrize("text", ["soon", "0001-01-01T00:00:00+10:00", "9999-12-31T23:00:00"])
def test_what_is_no_time_is_said(weighbridge: Weighbridge, text: str) -> None:
    ran = weighbridge("prices", "show", "whisper", "--at", text)
    assert ran.status == MISUSED
    assert "is no time: write a date such as 2026-12-01" in ran.err
