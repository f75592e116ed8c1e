"""The rows of time: added latency, time to first byte, lateness of chunks, ``/usage/current``.

Latency and first byte are measured in turns, as CPU is: the upstream itself, nginx and Weighbridge,
one after the other. Of a median the least counts, for what else the machine does only ever adds;
of a tail the median, since a tail must not be chosen.
"""

import statistics
import time
from collections.abc import Callable, Iterable

from tests.bench import history, load, programs
from tests.bench.bodies import request_body
from tests.bench.programs import Subject
from tests.bench.run import Bench, stop
from tests.bench.upstreams import (
    Upstream,
    start_constant_upstream,
    start_stream_upstream,
)

_TURNS_OF_LATENCY = 5
_TURNS_OF_FIRST_BYTE = 3


def latency(bench: Bench, *, judged_only: bool = False) -> None:
    """Added latency at 200 requests/s, open loop."""
    body = bench.body("request", request_body())

    def measured(subject: Subject) -> load.Heard:
        load.open_loop(bench.stage, subject, body=body, per_second=50, seconds=0.5).heard()
        running = load.open_loop(bench.stage, subject, body=body, per_second=200, seconds=3)
        return running.heard().whole()

    others = start_constant_upstream(bench.stage)
    count = _TURNS_OF_LATENCY
    turns = _in_turns(bench, bench.constant, others, measured, count=count, judged_only=judged_only)
    for row, part, chosen in (
        ("latency_p50", "p50_ms", min),
        ("latency_p99", "p99_ms", statistics.median),
    ):
        delays = {n: [getattr(h.latency, part) for h in heard] for n, heard in turns.items()}
        _over_direct(bench, row, delays, chosen)


def first_byte(bench: Bench, *, judged_only: bool = False) -> None:
    """Time to first byte while 500 other streams run, of a hundred new ones a second."""

    def measured(subject: Subject) -> load.Heard:
        busy = load.closed_loop(
            bench.stage,
            subject,
            bench.stream(chunks=110, gap_ms=50),
            connections=500,
            chunks=110,
            starts_per_second=500,
            seconds=7.5,
        )
        time.sleep(1.2)
        body = bench.stream(chunks=3, gap_ms=50)
        probe = load.open_loop(
            bench.stage, subject, body=body, chunks=3, per_second=100, seconds=4
        ).heard()
        busy.heard().whole()
        return probe.whole()

    others = start_stream_upstream(bench.stage)
    count = _TURNS_OF_FIRST_BYTE
    turns = _in_turns(bench, bench.streams, others, measured, count=count, judged_only=judged_only)
    delays = {n: [h.first_byte.p99_ms for h in heard] for n, heard in turns.items()}
    _over_direct(bench, "first_byte", delays, statistics.median)


def lateness(bench: Bench) -> None:
    """1,000 streams at 20 chunks/s: how late chunks are, and how many streams break."""

    def measured(subject: Subject) -> load.Heard:
        return load.closed_loop(
            bench.stage,
            subject,
            bench.stream(chunks=240, gap_ms=50),
            connections=1000,
            chunks=240,
            starts_per_second=500,
            seconds=16,
        ).heard()

    heard = _beside_direct(bench, bench.streams, measured)
    heard["direct"].whole()
    bench.figures.beside["streams_broken"] = {n: h.broken for n, h in heard.items()}
    bench.figures.alone("streams_broken", heard["Weighbridge"].broken)
    bench.figures.over_direct("lateness", {n: h.lateness.p99_ms for n, h in heard.items()})


def usage(bench: Bench) -> None:
    """``GET /usage/current`` while requests are written, after one busy day and after 31."""
    body = bench.body("request", request_body())
    values: dict[str, float] = {}
    for row, days in (("usage_p99_short", 1), ("usage_p99", 31)):
        installed = bench.install(row, bench.constant)
        history.fill(installed.database, installed.key, days=days)
        ours = programs.await_subject(programs.start_weighbridge(bench.stage, installed))
        writing = load.open_loop(bench.stage, ours, body=body, per_second=100, seconds=11)
        time.sleep(0.5)
        reading = load.open_loop(
            bench.stage, ours, path="/usage/current", per_second=50, seconds=10
        )
        heard = reading.heard().whole()
        writing.heard().whole()
        values[row] = heard.latency.p99_ms
        stop([ours])
    bench.figures.together("usage_p99", values)


def _beside_direct(
    bench: Bench, upstream: Upstream, measured: Callable[[Subject], load.Heard]
) -> dict[str, load.Heard]:
    """Measure the upstream itself, nginx and Weighbridge, one after the other."""
    turns = _in_turns(bench, upstream, start_stream_upstream(bench.stage), measured, count=1)
    return {name: heard for name, (heard,) in turns.items()}


def _in_turns(
    bench: Bench,
    upstream: Upstream,
    others: Upstream,
    measured: Callable[[Subject], load.Heard],
    *,
    count: int,
    judged_only: bool = False,
) -> dict[str, list[load.Heard]]:
    """Measure so many times; ``others`` is for who is compared with: the count of ours is ours."""
    bare = [] if judged_only else [programs.start_nginx_proxy(bench.stage, others)]
    turns: dict[str, list[load.Heard]] = {}
    with bench.weighbridge(upstream) as ours:
        for _ in range(count):
            for subject in (Subject(name="direct", port=others.port), *bare, ours):
                bench.figures.pace.sample()
                turns.setdefault(subject.name, []).append(measured(subject))
    stop(bare)
    return turns


def _over_direct(
    bench: Bench,
    row: str,
    delays_ms: dict[str, list[float]],
    chosen: Callable[[Iterable[float]], float],
) -> None:
    for name, turns_ms in delays_ms.items():
        text = ", ".join(f"{turn_ms:.2f}" for turn_ms in turns_ms)
        bench.say(f"{name}: {chosen(turns_ms):.2f} ms, {row} ({text})")
    bench.figures.over_direct(row, {name: chosen(turns) for name, turns in delays_ms.items()})
