"""The table, and whether every limit was kept."""

# ruff: noqa: RUF001 - the table's typography

from collections.abc import Iterable, Sequence
from statistics import median

from tests.bench.limits import LIMITS, Limit
from tests.bench.run import Figures

_PROGRAMS = ("direct", "nginx", "Go", "LiteLLM", "Weighbridge")
_SMALL = 10


def table(runs: Sequence[Figures]) -> str:
    """Return the table in Markdown: each row's own figures, what is judged, and its bounds.

    With several runs the figures are medians, and the worst one, which is judged, is beside.
    """
    shown = [name for name in _PROGRAMS if any(name in b for r in runs for b in r.beside.values())]
    head = ["", *shown, "so", "limit", "goal", "met"]
    lines = [head, ["---"] * len(head)]
    lines += [_line(limit, runs, shown) for limit in LIMITS if limit.row in runs[0].values]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def missed(runs: Iterable[Figures]) -> list[str]:
    """Say what went wrong, one sentence each: limits that are missed, ledgers that are off."""
    problems = []
    for number, run in enumerate(runs, 1):
        problems += [f"run {number}: {mismatch}" for mismatch in run.mismatches]
        problems += [f"run {number}: {failure}" for failure in run.failures]
        over = missed_rows(run)
        problems += [
            f"run {number}: {limit.what}: {_figure(run.values[limit.row])} {limit.unit}, "
            f"must be {limit.most:g} at most"
            for limit in LIMITS
            if limit.row in over
        ]
    return problems


def missed_rows(run: Figures) -> set[str]:
    """Return the rows that are above their limit."""
    return {
        limit.row
        for limit in LIMITS
        if limit.most is not None and run.values.get(limit.row, 0.0) > limit.most
    }


def _line(limit: Limit, runs: Sequence[Figures], shown: Sequence[str]) -> list[str]:
    values = [run.values[limit.row] for run in runs if limit.row in run.values]
    judged = f"**{_figure(median(values))} {limit.unit}**".replace(" **", "**")
    if len(values) > 1:
        judged += f" (worst {_figure(max(values))})"
    cells = []
    for name in shown:
        own = [run.beside[limit.row][name] for run in runs if name in run.beside.get(limit.row, {})]
        cells.append(_figure(median(own)) if own else "")
    return [
        f"{limit.what}{_own_unit(limit)}",
        *cells,
        judged,
        _bound(limit.most),
        _bound(limit.goal),
        _verdict(limit, max(values)),
    ]


def _verdict(limit: Limit, worst: float) -> str:
    if limit.most is not None and worst > limit.most:
        return "missed"
    if limit.goal is not None:
        return "goal" if worst <= limit.goal else "limit"
    return "" if limit.most is None else "limit"


def _own_unit(limit: Limit) -> str:
    return " (µs)" if limit.unit == "× nginx" else ""


def _bound(value: float | None) -> str:
    return "–" if value is None else f"≤ {value:g}"


def _figure(value: float) -> str:
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < _SMALL else f"{value:,.1f}"
