"""The rows of scale: one subscription's usage among ten thousand, ten million events kept."""

import time

from tests.bench import crowd, load, programs
from tests.bench.bodies import request_body
from tests.bench.run import Bench, stop

EVENTS = 10_000_000
_READS_PER_SECOND = 50
_WRITES_PER_SECOND = 100
_SECONDS = 12


def scale(bench: Bench) -> None:
    """``GET /usage/current`` while requests are written: almost empty, and ten million events.

    Both are asked of five models and a sixth, which is written.
    """
    body = bench.body("request", request_body())
    values: dict[str, float] = {}
    for row in ("scale_p99_empty", "scale_p99"):
        installed = bench.install(row, bench.constant)
        if row == "scale_p99_empty":
            crowd.fill(installed.database, subscriptions=1, quarters=1)
        else:
            began_s = time.monotonic()
            events = crowd.fill(installed.database)
            bench.say(f"{events:,} events were written in {time.monotonic() - began_s:.0f} s")
            if events < EVENTS:
                msg = f"only {events:,} events were written, not {EVENTS:,}"
                raise RuntimeError(msg)
        ours = programs.await_subject(programs.start_weighbridge(bench.stage, installed))
        writing = load.open_loop(
            bench.stage, ours, body=body, per_second=_WRITES_PER_SECOND, seconds=_SECONDS + 1
        )
        time.sleep(0.5)
        reading = load.open_loop(
            bench.stage,
            ours,
            path="/usage/current",
            per_second=_READS_PER_SECOND,
            seconds=_SECONDS,
        )
        heard = reading.heard().whole()
        writing.heard().whole()
        values[row] = heard.latency.p99_ms
        stop([ours])
    values["scale_ratio"] = values["scale_p99"] / values["scale_p99_empty"]
    bench.figures.together("scale_p99", values)
