"""The load generators, and what they report; both run beside the upstream."""

import http.client
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from proxy.settings import child_environment
from tests.bench.machine import CORE_OF_LOAD, find
from tests.bench.processes import Program, Stage, pinned
from tests.bench.programs import HERE, Subject

_SLACK_SECONDS = 30


class LoadFailedError(Exception):
    """Answers were refused, cut short or different: the figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A distribution, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the compiled load generator received."""

    finished: int
    broken: int
    chunks: int
    complaint: str
    latency: Spread
    first_byte: Spread
    lateness: Spread

    def whole(self) -> "Heard":
        """Return this; :class:`LoadFailedError` if any answer was broken."""
        if self.broken:
            msg = f"{self.broken} of {self.finished + self.broken} broken: {self.complaint}"
            raise LoadFailedError(msg)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A load generator in the background."""

    program: Program
    seconds: float

    def heard(self) -> Heard:
        """Wait for its end and return what it received."""
        status = self.program.process.wait(self.seconds + _SLACK_SECONDS)
        if status:
            msg = f"the load generator failed: {self.program.last_words()}"
            raise LoadFailedError(msg)
        return _heard(json.loads(self.program.log.read_text()))


def one(subject: Subject, body: bytes) -> None:
    """Send one chat completion; :class:`LoadFailedError` unless the answer is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", subject.port, timeout=30)
    headers = {"Authorization": f"Bearer {subject.key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise LoadFailedError(content[:500].decode(errors="replace"))


def wrk(subject: Subject, body: Path, *, connections: int, seconds: float) -> int:
    """Send one request after the other on each connection; return how many were answered."""
    command = [find("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s",
               "--timeout", "10s", "-s", HERE / "wrk.lua",
               f"http://127.0.0.1:{subject.port}/v1/chat/completions"]  # fmt: skip
    done = subprocess.run(
        pinned(CORE_OF_LOAD, command),
        env=child_environment(BENCH_KEY=subject.key, BENCH_BODY=str(body)),
        capture_output=True,
        text=True,
        timeout=seconds + _SLACK_SECONDS,
        check=False,
    )
    if done.returncode:
        raise LoadFailedError(done.stdout + done.stderr)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["refused"] or told["broken"] or not told["finished"]:
        msg = f"{subject.name}, {connections} connections: {told}"
        raise LoadFailedError(msg)
    finished: int = told["finished"]
    return finished


def closed_loop(
    stage: Stage,
    subject: Subject,
    body: Path,
    *,
    connections: int,
    rounds: int = 1,
    chunks: int,
    usage: bool = False,
    starts_per_second: float,
    seconds: float,
) -> Running:
    """Start so many connections, each with ``rounds`` streams of ``chunks`` one after the other.

    ``usage``: answers must report usage; otherwise they must not. ``seconds`` is how long that
    should take; much later than that the generator gives up, and what runs counts as broken.
    """
    words = ["-n", connections, "-R", rounds, "-c", chunks, "-r", starts_per_second, "-b", body]
    return _start(stage, subject, [*words, *(["-u"] if usage else [])], seconds)


def open_loop(
    stage: Stage,
    subject: Subject,
    *,
    per_second: float,
    seconds: float,
    body: Path | None = None,
    path: str = "",
    chunks: int = 0,
) -> Running:
    """Send requests at fixed moments: ``body`` as a chat completion, or a GET of ``path``."""
    what = ["-b", body] if body else ["-P", path]
    return _start(stage, subject, [*what, "-r", per_second, "-s", seconds, "-c", chunks], seconds)


def _start(stage: Stage, subject: Subject, words: list[object], seconds: float) -> Running:
    header = f"Authorization: Bearer {subject.key}"
    give_up = int(seconds) + _SLACK_SECONDS // 2
    client = stage.directory / "client"
    command = [client, "-p", subject.port, "-H", header, "-T", give_up, *words]
    started = stage.start("client", [str(word) for word in command], core=CORE_OF_LOAD)
    return Running(program=started, seconds=seconds)


def _heard(told: dict[str, dict[str, float]]) -> Heard:
    def spread(name: str) -> Spread:
        values = told[name]
        p50, p99, most = (values[part] / 1000 for part in ("p50", "p99", "max"))
        return Spread(p50_ms=p50, p99_ms=p99, max_ms=most)

    unfinished = told["unfinished"]
    return Heard(
        finished=int(str(told["finished"])),
        broken=int(str(told["broken"])) + int(str(unfinished)),
        chunks=int(str(told["chunks"])),
        complaint=str(told["complaint"]) or ("gave up waiting" if unfinished else ""),
        latency=spread("latency"),
        first_byte=spread("first_byte"),
        lateness=spread("lateness"),
    )
