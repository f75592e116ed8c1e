"""An office for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.periods.office import PRICES, Office, open_office


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path / "ledger.db") as office:
        await office.adopt()
        yield office


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A pricing file that can be edited."""
    path = tmp_path / "pricing.toml"
    path.write_text(PRICES)
    return path
