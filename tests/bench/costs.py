"""The rows of CPU: of a request (work A), of a streamed chunk (work B), and over TLS."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from tests.bench import load, programs
from tests.bench.bodies import request_body
from tests.bench.load import LoadFailedError
from tests.bench.programs import Subject
from tests.bench.run import CHUNKS, Bench, stop
from tests.bench.upstreams import Upstream, start_constant_upstream, start_tls_upstreams

_STREAMS = 200
_STREAMS_OF_THE_SLOW = 10
_JUDGED = frozenset({"nginx", "Weighbridge"})
_SLOW = frozenset({"LiteLLM"})
"""Whose core would be full with 200 streams: figures of a program that can't keep up are none."""


def requests(bench: Bench) -> None:
    """Work A: CPU of a request, at 32, 1 and 128 connections."""
    measure_requests(bench, (32, 1, 128))


def measure_requests(bench: Bench, connections: tuple[int, ...]) -> None:
    """Work A at these numbers of connections."""
    body = bench.body("request", request_body())
    # an upstream for the others, so that the count of ours is of ours alone
    others = bench.others(start_constant_upstream(bench.stage))
    with bench.weighbridge(bench.constant) as ours:
        for count in connections:
            cost = partial(_cpu_per_request, bench, body, count)
            costs = _costs(bench, (*others, ours), cost)
            bench.figures.ratio(f"request_{count}", costs)
    stop(others)


def chunks(bench: Bench) -> None:
    """Work B: CPU of a streamed chunk, usage asked for by the client and by the proxy."""
    measure_chunks(bench, ("chunk_hidden", "chunk_asked"))


def measure_chunks(bench: Bench, rows: tuple[str, ...]) -> None:
    """Work B for these rows."""
    others = bench.others(bench.streams)
    bare = _costs(bench, others, lambda s: cpu_per_chunk(bench, s, usage=True))
    stop(others)
    for row in rows:
        with bench.weighbridge(bench.streams) as ours:
            cost = cpu_per_chunk(bench, ours, usage=row == "chunk_asked")
            bench.figures.ratio(row, {**bare, ours.name: cost})


def tls(bench: Bench) -> None:
    """Requests and chunks once more, the upstream on TLS."""
    secured = start_tls_upstreams(bench.stage, bench.streams)
    if secured is None:
        return
    constant, streams = secured
    body = bench.body("request", request_body())
    work: tuple[tuple[str, Upstream, Callable[[Subject], float]], ...] = (
        ("tls_request", constant, lambda s: _cpu_per_request(bench, body, 32, s)),
        ("tls_chunk", streams, lambda s: cpu_per_chunk(bench, s, usage=False)),
    )
    for row, upstream, cost in work:
        bare = programs.start_nginx_proxy(bench.stage, upstream)
        costs = {bare.name: cost(bare)}
        stop([bare])
        with bench.weighbridge(upstream) as ours:
            bench.figures.ratio(row, {**costs, ours.name: cost(ours)})


def _costs(
    bench: Bench, subjects: Iterable[Subject], cost: Callable[[Subject], float]
) -> dict[str, float]:
    """Return each one's cost; who is only compared with, and fails, is left out."""
    costs = {}
    for subject in subjects:
        try:
            costs[subject.name] = cost(subject)
        except LoadFailedError as failure:
            if subject.name in _JUDGED:
                raise
            bench.say(f"{subject.name} is left out: {failure}")
    return costs


def _cpu_per_request(bench: Bench, body: Path, connections: int, subject: Subject) -> float:
    load.one(subject, body.read_bytes())
    load.wrk(subject, body, connections=connections, seconds=2)
    before_us = subject.running.cpu_us()
    finished = load.wrk(subject, body, connections=connections, seconds=bench.seconds)
    cost_us = (subject.running.cpu_us() - before_us) / finished
    bench.say(f"{subject.name}: {cost_us:.1f} µs a request, {connections} connection(s)")
    return cost_us


def cpu_per_chunk(
    bench: Bench, subject: Subject, *, usage: bool, connections: int = _STREAMS, rounds: int = 3
) -> float:
    """Return the CPU of a streamed chunk, in microseconds; ``usage``: the client asks for it."""
    if subject.name in _SLOW:
        connections = min(connections, _STREAMS_OF_THE_SLOW)

    def run(times: int) -> load.Heard:
        running = load.closed_loop(
            bench.stage,
            subject,
            bench.stream(usage=usage),
            connections=connections,
            rounds=times,
            chunks=CHUNKS,
            usage=usage,
            starts_per_second=400,
            seconds=3.0 * times + 1,
        )
        heard = running.heard()
        # LiteLLM writes its own chunks: only what must be transparent is held to that
        return heard.whole() if subject.name in _JUDGED else heard

    run(1)
    before_us = subject.running.cpu_us()
    heard = run(rounds)
    if not heard.chunks:
        raise LoadFailedError(heard.complaint)
    cost_us = (subject.running.cpu_us() - before_us) / heard.chunks
    bench.say(f"{subject.name}: {cost_us:.1f} µs a chunk, usage {'' if usage else 'not '}asked for")
    return cost_us
