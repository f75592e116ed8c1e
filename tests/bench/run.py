"""One run: what it measured, what its rows share, and the check of the ledger."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import programs
from tests.bench.bodies import stream_body
from tests.bench.pace import Pace
from tests.bench.processes import Stage, wait_until
from tests.bench.programs import Installation, Subject
from tests.bench.upstreams import ConstantUpstream, Counts, StreamUpstream, Upstream

CHUNKS = 101
_SECONDS_TO_DRAIN = 30.0


@dataclass(slots=True)
class Figures:
    """What one run measured: a value for each row, and what each program's own figure was."""

    values: dict[str, float] = field(default_factory=dict)
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    ledgers: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    sittings: list[str] = field(default_factory=list)
    """The groups that were measured again, once for each time."""
    pace: Pace = field(default_factory=Pace)
    """How fast the core under test was meanwhile."""

    def ratio(self, row: str, costs: dict[str, float]) -> None:
        """Keep costs in microseconds by program; the row's value is Weighbridge's over nginx's."""
        self._keep_calmer(row, costs["Weighbridge"] / costs["nginx"], costs)

    def over_direct(self, row: str, delays: dict[str, float]) -> None:
        """Keep delays in milliseconds by program; the row's value is what Weighbridge adds."""
        self._keep_calmer(row, max(delays["Weighbridge"] - delays["direct"], 0.0), delays)

    def _keep_calmer(self, row: str, value: float, beside: dict[str, float]) -> None:
        """Of a row that has several sittings, keep the one with the least for Weighbridge itself.

        Not the best comparison: that would be one in which the others were disturbed.
        """
        before = self.beside.get(row, {})
        if row not in self.values or beside["Weighbridge"] < before["Weighbridge"]:
            self.beside[row] = before | beside
            self.values[row] = value

    def alone(self, row: str, value: float) -> None:
        """Keep a row that has no comparison."""
        self.together(row, {row: value})

    def together(self, judged: str, values: dict[str, float]) -> None:
        """Keep rows that belong together; of several sittings the one with the least ``judged``."""
        if judged not in self.values or values[judged] < self.values[judged]:
            self.values.update(values)


@dataclass(slots=True)
class Bench:
    """What the rows share: the stage, both upstreams, and how long to measure."""

    stage: Stage
    constant: ConstantUpstream
    streams: StreamUpstream
    figures: Figures
    say: Callable[[str], None]
    turns: int = 3
    """How often each program's CPU is measured in a sitting, in turn with the others'."""
    budget_usd: str | None = None
    """What the subscription of each ledger may spend in a period."""
    installed: int = 0

    def body(self, name: str, content: bytes) -> Path:
        """Write a request body to where the load generators read it."""
        path = self.stage.directory / f"{name}.json"
        path.write_bytes(content)
        return path

    def stream(self, *, chunks: int = CHUNKS, gap_ms: int = 20, usage: bool = False) -> Path:
        """Write the body of a request for a stream."""
        name = f"stream-{chunks}-{gap_ms}-{usage}"
        return self.body(name, stream_body(chunks=chunks, gap_ms=gap_ms, usage=usage))

    def install(self, name: str, upstream: Upstream) -> Installation:
        """Make a new ledger and a key for the proxy to be started with."""
        self.installed += 1
        name = f"{name}-{self.installed}"
        return programs.install(self.stage, name, upstream, budget_usd=self.budget_usd)

    @contextmanager
    def weighbridge(self, upstream: Upstream) -> Iterator[Subject]:
        """Run the proxy on a fresh ledger; at the end its sums must equal the upstream's count."""
        installed = self.install("ledger", upstream)
        name = installed.database.stem
        subject = programs.await_subject(programs.start_weighbridge(self.stage, installed))
        before = upstream.counts()
        yield subject
        self.compare(name, subject, lambda: upstream.counts() - before)
        if status := subject.running.stop():
            self.figures.failures.append(f"{name}: the proxy ended with status {status}")

    def compare(self, name: str, subject: Subject, billed: Callable[[], Counts]) -> None:
        """Hold the ledger against the upstream's count, once nothing is open.

        Who was cut off at the end of the load may still be on the way to the ledger, and from
        there to the upstream: what differs at first is looked at again.
        """
        ours, theirs = None, billed()

        def equal() -> bool:
            nonlocal ours, theirs
            ours, still_open = programs.ledger_counts(subject)
            theirs = billed()
            return not still_open and ours == theirs

        try:
            wait_until(equal, seconds=_SECONDS_TO_DRAIN, what=name)
        except TimeoutError:
            self.figures.mismatches.append(f"{name}: the ledger has {ours}, the upstream {theirs}")
        else:
            self.figures.ledgers.append(f"{theirs.requests:,} requests")

    def others(self, upstream: Upstream, *, judged_only: bool) -> list[Subject]:
        """Start the programs to compare with: nginx, and Go and LiteLLM where they are."""
        bare = programs.start_nginx_proxy(self.stage, upstream)
        if judged_only:
            return [bare]
        started = (
            bare,
            programs.start_go_proxy(self.stage, upstream),
            programs.start_litellm(self.stage, upstream),
        )
        return [subject for subject in started if subject]


def stop(subjects: list[Subject]) -> None:
    """End the programs to compare with."""
    for subject in subjects:
        if subject.program:
            subject.running.stop()
