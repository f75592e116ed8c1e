"""How long a request took, whatever happens to the clock meanwhile."""

from pathlib import Path

import pytest

from proxy import app, clock
from proxy.web.access_log import AccessLog, LogLine
from tests.overload.serving import serving

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US])
async def test_a_clock_that_is_set_says_nothing_of_how_long_a_request_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_us: int
) -> None:
    lines: list[LogLine] = []
    monkeypatch.setattr(AccessLog, "record", lambda _, line: lines.append(line))
    steps = iter(range(1000))
    monkeypatch.setattr(app, "now_us", lambda: clock.now_us() + next(steps) * step_us)
    async with serving(tmp_path, access_log=True) as proxy:
        await proxy.ask(b"GET /v1/nothing HTTP/1.1\r\nHost: here\r\n\r\n")
    (line,) = lines
    assert 0 <= line.ms < 60_000
