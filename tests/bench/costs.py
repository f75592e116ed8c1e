"""The rows of CPU: of a request (work A), of a streamed chunk (work B), and over TLS.

nginx and Weighbridge take turns, a few seconds each at most, and the least of a program's turns is
its cost: what else the machine does comes and goes, and only ever adds. A turn waits a while for a
moment in which it does not (:mod:`tests.bench.pace`). What is above its limit is measured again at
the end of a run; the calmer sitting counts, whole, since only what was measured side by side can
be compared. All turns are printed. Rows that are not judged, and programs that are only compared
with, get one turn; over TLS, where there is one upstream, first one program takes its turn and then
the other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench import load, programs
from tests.bench.bodies import request_body
from tests.bench.load import LoadFailedError
from tests.bench.programs import Subject
from tests.bench.run import CHUNKS, Bench, stop
from tests.bench.upstreams import (
    Upstream,
    start_constant_upstream,
    start_stream_upstream,
    start_tls_upstreams,
)

_TURN_S = 1.0
_ROUNDS = 2
"""How long a program's turn takes: seconds of requests, rounds of streams."""
_WAIT_FOR_CALM_S = 2.0
_STREAMS = 200
_STREAMS_OF_THE_SLOW = 10
_JUDGED = frozenset({"nginx", "Weighbridge"})
_TURNS_OF_JUDGED = {"request_32": 2, "chunk_hidden": 1}
"""How many there are for each that is asked for: short ones fit between what disturbs them."""
_SLOW = frozenset({"LiteLLM"})
"""Whose core would be full with 200 streams: figures of a program that can't keep up are none."""


Cost = Callable[[Subject], float]


def requests(bench: Bench) -> None:
    """Work A: CPU of a request, at 32, 1 and 128 connections."""
    measure_requests(bench, (32, 1, 128))


def measure_requests(
    bench: Bench, connections: tuple[int, ...], *, judged_only: bool = False
) -> None:
    """Work A at these numbers of connections."""
    body = bench.body("request", request_body())
    # an upstream for the others, so that the count of ours is of ours alone
    others = bench.others(start_constant_upstream(bench.stage), judged_only=judged_only)
    with bench.weighbridge(bench.constant) as ours:
        for count in connections:
            cost = partial(_cpu_per_request, body, count)
            _measure_row(bench, f"request_{count}", (*others, ours), cost)
    stop(others)


def chunks(bench: Bench) -> None:
    """Work B: CPU of a streamed chunk, usage asked for by the client and by the proxy."""
    measure_chunks(bench, ("chunk_hidden", "chunk_asked"))


def measure_chunks(bench: Bench, rows: tuple[str, ...], *, judged_only: bool = False) -> None:
    """Work B for these rows."""
    others = bench.others(start_stream_upstream(bench.stage), judged_only=judged_only)
    for row in rows:
        asked = row == "chunk_asked"
        with bench.weighbridge(bench.streams) as ours:

            def cost(subject: Subject, ours: Subject = ours, asked: bool = asked) -> float:
                return cpu_per_chunk(bench, subject, usage=asked or subject is not ours)

            _measure_row(bench, row, (*others, ours), cost)
    stop(others)


def tls(bench: Bench) -> None:
    """Requests and chunks once more, the upstream on TLS."""
    secured = start_tls_upstreams(bench.stage, bench.streams)
    if secured is None:
        return
    constant, streams = secured
    body = bench.body("request", request_body())
    work: tuple[tuple[str, Upstream, Cost], ...] = (
        ("tls_request", constant, partial(_cpu_per_request, body, 32)),
        ("tls_chunk", streams, lambda s: cpu_per_chunk(bench, s, usage=s.name != "Weighbridge")),
    )
    for row, upstream, cost in work:
        bare = programs.start_nginx_proxy(bench.stage, upstream)
        costs = _costs(bench, row, (bare,), cost)
        stop([bare])
        with bench.weighbridge(upstream) as ours:
            costs |= _costs(bench, row, (ours,), cost)
        bench.figures.ratio(row, costs)


def _measure_row(bench: Bench, row: str, subjects: Sequence[Subject], cost: Cost) -> None:
    bench.figures.ratio(row, _costs(bench, row, subjects, cost))


def _costs(bench: Bench, row: str, subjects: Sequence[Subject], cost: Cost) -> dict[str, float]:
    """Return each one's least cost; who is only compared with, and fails, is left out."""
    turns: dict[str, list[float]] = {}
    last = bench.turns * _TURNS_OF_JUDGED[row] if row in _TURNS_OF_JUDGED else 1
    for turn in range(1 + last):
        for subject in subjects:
            left_out = turn and subject.name not in turns
            if left_out or (turn > 1 and subject.name not in _JUDGED):
                continue
            if turn and last > 1:
                bench.figures.pace.wait_for_calm(_WAIT_FOR_CALM_S)
            bench.figures.pace.sample()
            try:
                cost_us = cost(subject)
            except LoadFailedError as failure:
                if subject.name in _JUDGED:
                    raise
                bench.say(f"{subject.name} is left out: {failure}")
                turns.pop(subject.name, None)
            else:
                # the first turn is the warming-up
                turns.setdefault(subject.name, []).extend([cost_us] if turn else [])
    for name, costs_us in turns.items():
        text = ", ".join(f"{cost_us:.1f}" for cost_us in costs_us)
        bench.say(f"{name}: {min(costs_us):.1f} µs, {row} ({text})")
    return {name: min(costs_us) for name, costs_us in turns.items()}


def _cpu_per_request(body: Path, connections: int, subject: Subject) -> float:
    load.one(subject, body.read_bytes())
    before_us = subject.running.cpu_us()
    finished = load.wrk(subject, body, connections=connections, seconds=_TURN_S)
    return (subject.running.cpu_us() - before_us) / finished


def cpu_per_chunk(
    bench: Bench, subject: Subject, *, usage: bool, connections: int = _STREAMS
) -> float:
    """Return the CPU of a streamed chunk, in microseconds; ``usage``: the client asks for it."""
    if subject.name in _SLOW:
        connections = min(connections, _STREAMS_OF_THE_SLOW)
    before_us = subject.running.cpu_us()
    heard = load.closed_loop(
        bench.stage,
        subject,
        bench.stream(usage=usage),
        connections=connections,
        rounds=_ROUNDS,
        chunks=CHUNKS,
        usage=usage,
        starts_per_second=400,
        seconds=3.0 * _ROUNDS + 1,
    ).heard()
    # LiteLLM writes its own chunks: only what must be transparent is held to that
    if subject.name in _JUDGED:
        heard.whole()
    if not heard.chunks:
        raise LoadFailedError(heard.complaint)
    return (subject.running.cpu_us() - before_us) / heard.chunks
