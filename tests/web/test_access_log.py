"""The access log before a descriptor that takes nothing: it is bounded, and stops no one."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from proxy.web import access_log
from proxy.web.access_log import AccessLog, LogLine


def line(number: int) -> LogLine:
    return LogLine(
        time=datetime(2026, 11, 1, tzinfo=UTC),
        id=f"req_{number}",
        key="wb-1",
        subscription="acme",
        method="POST",
        path="/v1/chat/completions",
        model="gpt-4o",
        status=200,
        state="exact",
        tokens=7,
        ms=1.5,
    )


class Pipe:
    """A pipe that is full."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.filled = 0
        try:
            while True:
                self.filled += os.write(self.writing, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(self.writing, True)

    def empty(self, count: int) -> None:
        """Read what it was filled with, and nothing of what came after."""
        while count:
            count -= len(os.read(self.reading, min(count, 65536)))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    monkeypatch.setattr(access_log, "FLUSH_S", 0.01)
    monkeypatch.setattr(access_log, "CLOSING_S", 0.2)
    monkeypatch.setattr(access_log, "MAX_PENDING", 100)
    pipe = Pipe()
    yield pipe
    for descriptor in (pipe.reading, pipe.writing):
        os.close(descriptor)


def lines(data: bytes) -> list[dict[str, object]]:
    return [json.loads(text) for text in data.splitlines()]


async def test_lines_that_can_not_be_written_are_bounded_counted_and_told(pipe: Pipe) -> None:
    log = AccessLog(as_json=True, descriptor=pipe.writing)
    for number in range(1000):
        log.record(line(number))
        if number % 10 == 0:
            await asyncio.sleep(0.012)
    assert log.pending <= 100
    pipe.empty(pipe.filled)
    await asyncio.sleep(0.1)
    log.record(line(1000))
    log.close()
    told = lines(os.read(pipe.reading, 1 << 20))
    ids = [said["id"] for said in told if "id" in said]
    (dropped,) = [said["dropped_log_lines"] for said in told if "id" not in said]
    assert ids == [f"req_{number}" for number in range(len(ids) - 1)] + ["req_1000"]
    assert len(ids) < 250
    assert len(ids) + int(str(dropped)) == 1001


async def test_closing_waits_for_nobody_for_ever(pipe: Pipe) -> None:
    log = AccessLog(as_json=True, descriptor=pipe.writing)
    log.record(line(0))
    await asyncio.sleep(0.05)
    log.record(line(1))
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 2
    pipe.empty(pipe.filled)


async def test_what_is_left_is_written_at_the_end() -> None:
    reading, writing = os.pipe()
    log = AccessLog(as_json=False, descriptor=writing)
    log.record(line(0))
    log.close()
    assert b"req_0" in os.read(reading, 1000)
    for descriptor in (reading, writing):
        os.close(descriptor)


async def test_lines_that_fail_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "FLUSH_S", 0.01)
    reading, writing = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    wanted = os.dup(full)
    log = AccessLog(as_json=True, descriptor=wanted)
    log.record(line(0))
    log.record(line(1))
    await asyncio.sleep(0.1)
    os.dup2(writing, wanted)
    log.record(line(2))
    log.close()
    told = lines(os.read(reading, 10_000))
    assert told[0] == {"dropped_log_lines": 2}
    assert told[1]["id"] == "req_2"
    for descriptor in (reading, writing, full, wanted):
        os.close(descriptor)
