"""The rows of memory and of the start."""

import time

from tests.bench import load, machine, programs
from tests.bench.bodies import request_body
from tests.bench.costs import cpu_per_chunk
from tests.bench.processes import wait_until
from tests.bench.programs import Subject
from tests.bench.run import Bench

_SECONDS_TO_START = 30.0
_SECONDS_OPEN = 15.0
"""How long streams run before they are weighed: what is kept of an answer counts too."""


def stream_memory(bench: Bench) -> None:
    """Resident memory of an open stream, while 5,000 are open (or as many as files allow)."""
    count = min(5000, (machine.allow_files(12_000) - 1000) // 2)
    if count < 5000:
        bench.say(f"only {count} streams are opened: the limit of open files is too low")
    with bench.weighbridge(bench.streams) as ours:
        cpu_per_chunk(bench, ours, usage=False, connections=20)
        idle_bytes = ours.running.rss_bytes()
        running = load.closed_loop(
            bench.stage,
            ours,
            bench.stream(chunks=23, gap_ms=1000),
            connections=count,
            chunks=23,
            starts_per_second=1000,
            seconds=40,
        )
        wait_until(
            lambda: bench.streams.tell()["open"] == count,
            seconds=20,
            what=f"{count} streams are never open at once",
        )
        time.sleep(_SECONDS_OPEN)
        held_bytes = ours.running.rss_bytes() - idle_bytes
        running.heard().whole()
    bench.figures.alone("stream_memory", held_bytes / count / 1000)


def start_and_body(bench: Bench) -> None:
    """Start to first answer, idle memory, and what a 20 MB body adds to it at its peak."""
    small, size_bytes = request_body(), 20_000_000
    large = request_body(size_bytes=size_bytes)
    installed = bench.install("start", bench.streams)
    before, starts = bench.streams.counts(), []
    for attempt in range(5):
        began = time.monotonic()
        ours = programs.start_weighbridge(bench.stage, installed)
        _first_answer(ours, small)
        starts.append(time.monotonic() - began)
        if attempt < 4:
            ours.running.stop()
    time.sleep(1)
    idle_bytes = ours.running.rss_bytes()
    bench.figures.alone("start", sorted(starts)[len(starts) // 2])
    bench.figures.alone("idle_memory", idle_bytes / 1e6)
    ours.running.forget_peak()
    load.one(ours, large)
    held_bytes = ours.running.peak_bytes() - idle_bytes
    bench.figures.alone("body_memory", held_bytes / size_bytes)
    bench.compare("start", ours, lambda: bench.streams.counts() - before)
    ours.running.stop()


def _first_answer(subject: Subject, body: bytes) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            return load.one(subject, body)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.002)
