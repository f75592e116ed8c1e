"""Chores outlive what they do not expect, and an operator is told."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from proxy import app, chores
from proxy.chores import Chores
from proxy.errors import LedgerUnavailableError
from proxy.ledger.leading import LeadLock
from tests.e2e.raw_http import request
from tests.overload.serving import serving

SECRET = "sk-secret"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "FIRST_PAUSE_S", 0.01)


class Failing:
    """A chore that fails some times before it runs for good."""

    def __init__(self, times: int, error: BaseException) -> None:
        self.runs = 0
        self.well = asyncio.Event()
        self._times, self._error = times, error

    async def __call__(self, *_: object) -> None:
        self.runs += 1
        await asyncio.sleep(0)
        if self.runs <= self._times:
            raise self._error
        self.well.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), ValueError(SECRET), asyncio.CancelledError()]
)
async def test_a_chore_that_fails_is_told_and_runs_again(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    kept, chore = Chores(), Failing(3, error)
    kept.start("sweeping", chore)
    await asyncio.wait_for(chore.well.wait(), 5)
    assert kept.status() == {"failing": ["sweeping"]}
    (task,) = kept._tasks
    kept.stop()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert chore.runs == 4
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "sweeping failed; again in 0.04 s" in caplog.messages[-1]
    assert type(error).__name__ in caplog.text
    assert SECRET not in caplog.text


async def test_one_that_runs_well_for_long_is_well_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "STEADY_S", 0.05)
    kept, chore = Chores(), Failing(1, OSError())
    kept.start("sweeping", chore)
    await asyncio.wait_for(chore.well.wait(), 5)
    await asyncio.sleep(0.1)
    assert kept.status() == {"failing": []}
    kept.stop()


async def test_a_worker_whose_chore_fails_stays_ready_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = Failing(1, OSError(13, "Permission denied"))
    monkeypatch.setattr(app, "keep_up", upkeep)
    async with serving(tmp_path) as proxy:
        await asyncio.wait_for(upkeep.well.wait(), 5)
        status, _, body = await proxy.ask(request("/readyz", method="GET"))
        assert status == 200
        assert json.loads(body)["background"] == {"failing": ["ledger upkeep"]}


def test_who_cannot_open_the_lead_may_lead_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    lead = LeadLock(tmp_path / "ledger.db")
    with monkeypatch.context() as patch:
        patch.setattr("proxy.ledger.leading.os.open", full)
        with pytest.raises(LedgerUnavailableError, match="Too many open files"):
            lead.take()
    assert lead.take()
    lead.release()
