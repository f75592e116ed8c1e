"""The rows of time: added latency, time to first byte, lateness of chunks, ``/usage/current``."""

import time
from collections.abc import Callable

from tests.bench import history, load, programs
from tests.bench.bodies import request_body
from tests.bench.programs import Subject
from tests.bench.run import Bench, stop
from tests.bench.upstreams import Upstream


def latency(bench: Bench) -> None:
    """Added latency at 200 requests/s, open loop."""
    body = bench.body("request", request_body())

    def measured(subject: Subject) -> load.Heard:
        load.open_loop(bench.stage, subject, body=body, per_second=50, seconds=1).heard()
        running = load.open_loop(bench.stage, subject, body=body, per_second=200, seconds=10)
        return running.heard().whole()

    heard = _beside_direct(bench, bench.constant, measured)
    for row, part in (("latency_p50", "p50_ms"), ("latency_p99", "p99_ms")):
        bench.figures.over_direct(row, {n: getattr(h.latency, part) for n, h in heard.items()})


def first_byte(bench: Bench) -> None:
    """Time to first byte while 500 other streams run, of a hundred new ones a second."""

    def measured(subject: Subject) -> load.Heard:
        busy = load.closed_loop(
            bench.stage,
            subject,
            bench.stream(chunks=260, gap_ms=50),
            connections=500,
            chunks=260,
            starts_per_second=500,
            seconds=15,
        )
        time.sleep(1.5)
        body = bench.stream(chunks=3, gap_ms=50)
        probe = load.open_loop(
            bench.stage, subject, body=body, chunks=3, per_second=100, seconds=10
        ).heard()
        busy.heard().whole()
        return probe.whole()

    heard = _beside_direct(bench, bench.streams, measured)
    bench.figures.over_direct("first_byte", {n: h.first_byte.p99_ms for n, h in heard.items()})


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
    for row, days in (("usage_p99_short", 1), ("usage_p99", 31)):
        installed = bench.install(f"ledger-{row}", bench.constant)
        history.fill(installed.database, installed.key, days=days)
        ours = programs.await_subject(programs.start_weighbridge(bench.stage, installed))
        writing = load.open_loop(bench.stage, ours, body=body, per_second=100, seconds=11)
        time.sleep(0.5)
        reading = load.open_loop(
            bench.stage, ours, path="/usage/current", per_second=50, seconds=10
        )
        heard = reading.heard().whole()
        writing.heard().whole()
        bench.figures.alone(row, heard.latency.p99_ms)
        stop([ours])


def _beside_direct(
    bench: Bench, upstream: Upstream, measured: Callable[[Subject], load.Heard]
) -> dict[str, load.Heard]:
    """Measure the upstream itself, nginx and Weighbridge, one after the other."""
    bare = programs.start_nginx_proxy(bench.stage, upstream)
    direct = Subject(name="direct", port=upstream.port)
    heard = {subject.name: measured(subject) for subject in (direct, bare)}
    stop([bare])
    with bench.weighbridge(upstream) as ours:
        heard[ours.name] = measured(ours)
    return heard
