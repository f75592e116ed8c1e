"""``weighbridge usage``: the table, and what it says of unsure figures."""

from typing import Any

import pytest

from proxy.__main__ import FAILED
from proxy.cli.usage import print_usage
from tests.cli.conftest import Weighbridge


def line(**changes: Any) -> dict[str, Any]:
    return {
        "metric": "tokens",
        "model": "gpt-4o-2024-08-06",
        "type": "cached_input",
        "quantity": 1_234_567,
        "priced_as": "gpt-4o",
        "charge_model": "standard",
        "unit_price": "1.25",
        "package_size": 1_000_000,
        "service_tier": "default",
        "amount": "1.54320875",
    } | changes


def report(*lines: dict[str, Any], **counts: int) -> dict[str, Any]:
    return {
        "customer": "acme",
        "subscription": "acme-eu",
        "plan": "pro",
        "currency": "USD",
        "period": {
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "timezone": "UTC",
        },
        "lines": list(lines),
        "total": {"amount": "1.54", "precise_amount": "1.54320875"},
        "completeness": {"exact": 0, "unpriced": 0} | counts,
        "budget": None,
    }


def shown(capsys: pytest.CaptureFixture[str], *lines: dict[str, Any], **counts: int) -> str:
    print_usage(report(*lines, **counts))
    return capsys.readouterr().out


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, line(), exact=3)
    assert "acme-eu (customer acme, plan pro)" in out
    assert "gpt-4o-2024-08-06" in out
    assert "1,234,567" in out
    assert "1.25 per 1,000,000" in out
    assert "1.54320875" in out
    assert "total USD 1.54 " in out
    assert "requests: 3 exact\n" in out


def test_unpriced_lines_are_no_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"priced_as": None, "unit_price": None, "package_size": None, "charge_model": None}
    out = shown(capsys, line(**nothing, amount=None), exact=1, unpriced=1)
    assert "unpriced" in out
    assert "give its model a price in pricing.toml" in out


def test_tiers_service_tier_and_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(
        capsys,
        line(charge_model="graduated", unit_price=None, service_tier="flex"),
        line(metric="audio_seconds", type="", quantity="12.5", package_size=60),
        line(metric="images", type="hd/1024x1024", quantity=2, package_size=1),
    )
    assert "graduated" in out
    assert "(flex)" in out
    assert "12.5" in out
    assert "images hd/1024x1024" in out
    assert "requests: none" in out


def test_nothing_used(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("usage", "acme")
    assert ran.status == 0
    assert "Nothing was used yet." in ran.out
    assert weighbridge("usage", "acme", "--json").json()["lines"] == []


def test_unknown_subscription(weighbridge: Weighbridge) -> None:
    weighbridge("keys", "create", "--customer", "acme")
    ran = weighbridge("usage", "nobody")
    assert ran.status == FAILED
    assert "weighbridge subscriptions list" in ran.err
