"""Load on real processes, what the upstream says of it, and ways to spoil their disk."""

import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.ledger.maintenance import maintained
from proxy.ledger.verify import Verified, verify
from tests.proxy_process import ProxyProcess, UpstreamProcess

SOURCE = Path(__file__).with_name("failing_disk.c")
HOLD = """
import fcntl, os, sqlite3, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
lock = os.open(path + ".lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
connection = sqlite3.connect(path, isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(seconds)
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The ledger beside the upstream's truth."""

    asked: int
    lost: int
    twice: int
    wrong: int
    states: Counter[str]

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        return (
            f"{self.asked} requests reached the upstream: {self.lost} lost, {self.twice} double,"
            f" {self.wrong} wrong; in the ledger {states}"
        )


def figures(proxy: ProxyProcess, upstream: UpstreamProcess) -> Figures:
    """Hold the ledger against the truth; each request is for a model of its own."""
    truths = {answer["model_requested"]: answer for answer in upstream.truth()["answers"]}
    asked = Counter(answer["model_requested"] for answer in upstream.truth()["answers"])
    kept = Counter(row["model_requested"] for row in proxy.requests())
    events = Counter(
        row["model_requested"]
        for row in proxy.rows(
            "SELECT r.model_requested FROM events AS e JOIN requests AS r ON r.id = e.request_id"
            " WHERE e.n = 0"
        )
    )
    wrong = 0
    for row in proxy.rows(
        "SELECT r.model_requested AS name, s.type, sum(e.quantity) AS quantity FROM events AS e"
        " JOIN requests AS r ON r.id = e.request_id JOIN series AS s ON s.id = e.series_id"
        " WHERE s.metric = 'tokens' AND s.source = 'exact' GROUP BY 1, 2"
    ):
        truth = truths[row["name"]]
        should = {
            "input": truth["prompt_tokens"] - truth["cached_tokens"],
            "cached_input": truth["cached_tokens"],
            "output": truth["completion_tokens"],
        }
        wrong += should[row["type"]] != row["quantity"]
    return Figures(
        asked=sum(asked.values()),
        lost=sum(name not in kept or name not in events for name in asked),
        twice=sum(count > 1 for count in (*kept.values(), *events.values())),
        wrong=wrong,
        states=proxy.states(),
    )


def check(proxy: ProxyProcess, upstream: UpstreamProcess, whole: set[str]) -> Figures:
    """Assert that nothing is lost, double or wrong, and that whole answers are settled."""
    found = figures(proxy, upstream)
    assert (found.lost, found.twice, found.wrong) == (0, 0, 0), found
    state = {row["model_requested"]: row["state"] for row in proxy.requests()}
    assert {state[name] for name in whole} <= {"exact"}
    assert not found.states.keys() & {"open", "deferred"}
    with maintained(proxy.database, up_to_date=False) as connection:
        assert not list(verify(connection, Verified()))
    return found


def ready(proxy: ProxyProcess) -> int:
    """Return the status of ``/readyz``."""
    try:
        with urllib.request.urlopen(f"{proxy.address}/readyz") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def hold_ledger(path: Path, seconds: float) -> "subprocess.Popen[bytes]":
    """Lock a ledger from another process; returns when it is."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


class FailingDisk:
    """Makes ``write`` and ``fsync`` of a process fail, for files whose path has a part."""

    def __init__(self, folder: Path) -> None:
        self._library = folder / "failing_disk.so"
        self._control = folder / "failing-disk"

    def build(self) -> None:
        """Compile it; in CI there must be a compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            if os.environ.get("CI"):
                pytest.fail("there is no C compiler")
            pytest.skip("there is no C compiler")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self._library), "FAILING_DISK": str(self._control)}

    def fail(self, calls: str, number: int, part: str) -> None:
        """From now on, fail."""
        draft = self._control.with_suffix(".draft")
        draft.write_text(f"{calls} {number} {part}")
        draft.rename(self._control)

    def mend(self) -> None:
        """Fail no more."""
        self._control.unlink(missing_ok=True)


class SpoiledProxy(ProxyProcess):
    """A proxy on a failing disk."""

    def __init__(self, folder: Path, upstream: str, disk: FailingDisk, **settings: Any) -> None:
        super().__init__(folder, upstream, **settings)
        self._settings = self._settings | disk.environment


def spooled(proxy: ProxyProcess) -> int:
    """Count the lines in the proxy's spool."""
    files = proxy.database.with_name(proxy.database.name + ".spool").glob("*.spool")
    return sum(file.read_bytes().count(b"\n") for file in files)


def open_requests(proxy: ProxyProcess) -> int:
    """Count what is open in the ledger, past any lock file."""
    with closing(sqlite3.connect(proxy.database)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM requests WHERE settled_at_us IS NULL"
        ).fetchone()
        return int(count)
