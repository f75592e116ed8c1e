"""``python -m tests.bench``: measure, print the table, fail if a limit is missed."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import costs, delays, machine, report, scale, sizes
from tests.bench.load import LoadFailedError
from tests.bench.processes import Stage
from tests.bench.programs import compile_tools
from tests.bench.run import Bench, Figures
from tests.bench.upstreams import start_upstreams

_CAN_NOT_RUN = 2
_FILES = 12_000
_DIRECTORY = "/var/tmp"  # noqa: S108 - mkdtemp makes the name; /tmp may be memory

_SITTINGS = 3
"""How often a group of rows is measured at most, for as long as it is above a limit."""
_LAST_SITTING_BEGINS_S = 540.0
"""Into a run: it is to end within ten minutes."""
_WAIT_FOR_CALM_S = 30.0
"""For a moment in which the machine's neighbours leave the core alone, before each."""

_AGAIN: dict[str, tuple[tuple[str, ...], Callable[[Bench], None]]] = {
    "requests": (
        ("request_32",),
        lambda bench: costs.measure_requests(bench, (32,), judged_only=True),
    ),
    "chunks": (
        ("chunk_hidden",),
        lambda bench: costs.measure_chunks(bench, ("chunk_hidden",), judged_only=True),
    ),
    "latency": (
        ("latency_p50", "latency_p99"),
        lambda bench: delays.latency(bench, judged_only=True),
    ),
    "first_byte": (("first_byte",), lambda bench: delays.first_byte(bench, judged_only=True)),
    "usage": (("usage_p99",), delays.usage),
    "scale": (("scale_p99", "scale_ratio"), scale.scale),
}
"""What the machine's other work moves, for minutes at times: measured again at the end."""
_GROUPS: dict[str, Callable[[Bench], None]] = {
    "requests": costs.requests,
    "chunks": costs.chunks,
    "latency": delays.latency,
    "first_byte": delays.first_byte,
    "lateness": delays.lateness,
    "stream_memory": sizes.stream_memory,
    "start_and_body": sizes.start_and_body,
    "usage": delays.usage,
    "scale": scale.scale,
    "tls": costs.tls,
}


def main() -> int:
    """Return 0 if every limit is kept, 1 if one is missed, 2 if this machine can't tell."""
    asked = _arguments()
    if problems := machine.missing():
        sys.stderr.write("The bench can't run here.\n" + "".join(f"- {p}\n" for p in problems))
        return _CAN_NOT_RUN
    machine.allow_files(_FILES)
    directory = Path(tempfile.mkdtemp(prefix="weighbridge-bench-", dir=asked.directory))
    try:
        compile_tools(directory)
        runs = [_one_run(directory / str(number), asked) for number in range(asked.runs)]
        _print_report(runs, directory)
    finally:
        if asked.keep:
            _say(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 1 if report.missed(runs) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="a limit is kept if all keep it")
    parser.add_argument("--quick", action="store_true", help="CPU of requests and chunks only")
    parser.add_argument("--only", nargs="+", choices=_GROUPS, help="some of the groups of rows")
    parser.add_argument(
        "--turns",
        type=int,
        choices=range(1, 100),
        default=3,
        metavar="N",
        help="of nginx and Weighbridge in a sitting, for the CPU that is judged",
    )
    parser.add_argument(
        "--directory", default=_DIRECTORY, help="where ledgers are kept: a real disk, not tmpfs"
    )
    parser.add_argument("--budget", help="USD that the subscription may spend in a period")
    parser.add_argument("--keep", action="store_true", help="leave logs and ledgers there")
    return parser.parse_args()


def _one_run(directory: Path, asked: argparse.Namespace) -> Figures:
    directory.mkdir()
    for tool in ("upstream", "client", "reverse_proxy"):
        if (built := directory.parent / tool).exists():
            (directory / tool).symlink_to(built)
    stage, figures = Stage(directory), Figures()
    try:
        constant, streams = start_upstreams(stage)
        bench = Bench(stage, constant, streams, figures, _say)
        bench.budget_usd = asked.budget
        bench.turns = asked.turns
        began_s = time.monotonic()
        for name, measure in _chosen(asked).items():
            _measure(bench, name, measure)
        _measure_again(bench, began_s)
    finally:
        stage.stop_all()
    return figures


def _measure(bench: Bench, name: str, measure: Callable[[Bench], None]) -> None:
    _say(f"{name} …")
    before = len(bench.stage.programs)
    try:
        measure(bench)
    except (LoadFailedError, RuntimeError, TimeoutError, OSError) as error:
        bench.figures.failures.append(f"{name}: {error}")
    bench.stage.stop_since(before)


def _measure_again(bench: Bench, began_s: float) -> None:
    """Give what is above a limit another sitting, as far as there is time."""
    for _ in range(1, _SITTINGS):
        for name, (rows, measure) in _AGAIN.items():
            time_left_s = _LAST_SITTING_BEGINS_S - (time.monotonic() - began_s)
            if time_left_s > 0 and report.missed_rows(bench.figures) & set(rows):
                bench.figures.pace.wait_for_calm(min(time_left_s, _WAIT_FOR_CALM_S))
                _measure(bench, f"{name}, again", measure)
                bench.figures.sittings.append(name)


def _chosen(asked: argparse.Namespace) -> dict[str, Callable[[Bench], None]]:
    if asked.quick:
        return {
            "requests": lambda bench: costs.measure_requests(bench, (32,)),
            "chunks": lambda bench: costs.measure_chunks(bench, ("chunk_hidden",)),
        }
    return {name: _GROUPS[name] for name in asked.only} if asked.only else _GROUPS


def _print_report(runs: list[Figures], directory: Path) -> None:
    checked = [text for run in runs for text in run.ledgers]
    again = [name for run in runs for name in run.sittings]
    lines = [
        "",
        report.table(runs),
        "",
        f"{machine.describe(directory)}; {len(runs)} run(s), figures are medians.",
        f"Ledgers equal to the upstream's own count: {len(checked)} ({', '.join(checked)}).",
        f"Measured again, since it was above a limit: {', '.join(again) or 'nothing'}.",
        *(run.pace.told() for run in runs if run.pace.samples_ms),
        *machine.left_out(),
    ]
    if problems := report.missed(runs):
        lines += ["", "Missed:", *(f"- {problem}" for problem in problems)]
    sys.stdout.write("\n".join(lines) + "\n")


_BEGAN = time.monotonic()


def _say(text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _BEGAN:6.1f} s  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
