"""Commands run in this process, on a ledger of their own."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main

PRICES = """
currency = "USD"
[models."gpt-4o"]
input = 2.50
output = 10.00
[plans.pro]
markup = 1.20
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command said, and how it ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Weighbridge = Callable[..., Ran]


@pytest.fixture
def weighbridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Weighbridge:
    prices = tmp_path / "pricing.toml"
    prices.write_text(PRICES)
    monkeypatch.setenv("PROXY_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("PROXY_PRICING_FILE", str(prices))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        status = main(arguments)
        said = capsys.readouterr()
        return Ran(status=status, out=said.out, err=said.err)

    return run
