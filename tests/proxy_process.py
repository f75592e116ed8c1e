"""The proxy, and an upstream that keeps its own account, each as a process of its own."""

import asyncio
import json
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from proxy.core.subscriptions import KEY_PREFIX_LENGTH, key_digest
from proxy.ledger.sqlite import SqliteLedger
from proxy.settings import child_environment

ROOT = Path(__file__).parents[1]
UPSTREAM_KEY = "sk-upstream-secret"
PATIENCE_S = 30.0
SERVE = ("-m", "proxy", "serve")
T = TypeVar("T")


def until(sign: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Wait for ``sign`` to return something true, and return it."""
    deadline = time.monotonic() + patience_s
    while not (seen := sign()):
        assert time.monotonic() < deadline, f"it did not come to pass: {sign}"
        time.sleep(0.01)
    return seen


def get_json(url: str, headers: dict[str, str] | None = None) -> Any:
    """Read JSON from one of our own addresses."""
    asked = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


class Process:
    """A Python process of ours that announces itself on its standard output."""

    def __init__(self, arguments: Sequence[str], folder: Path, settings: dict[str, str]) -> None:
        self._arguments = arguments
        self._folder = folder
        self._settings = settings
        self._log = folder / "stderr.log"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> str:
        """Start it, and return the first line that it prints."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                env=child_environment(PYTHONPATH=str(ROOT), **self._settings),
                cwd=self._folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().strip()
        assert line, f"it did not start: {self.log}"
        return line

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """What it wrote to its standard error, over all its lives."""
        return self._log.read_text()

    @property
    def rss_bytes(self) -> int:
        """Return what it holds in memory now."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        status = self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def terminate(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.wait()

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        elif self._process is not None:
            self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


class UpstreamProcess(Process):
    """``python -m proxy.demo``: answers like OpenAI, and knows what it would bill."""

    def __init__(self, folder: Path, api_key: str | None = UPSTREAM_KEY) -> None:
        key = () if api_key is None else ("--api-key", api_key)
        super().__init__(("-m", "proxy.demo", *key), folder, {})
        self.base_url = ""

    def start(self) -> Self:
        self.base_url = self.launch()
        return self

    def truth(self) -> dict[str, Any]:
        """Return every answer as the upstream accounts for it, and the sums of what it bills."""
        truth: dict[str, Any] = get_json(f"{self.base_url}/truth")
        return truth

    def outcomes(self) -> Counter[str]:
        return Counter(answer["outcome"] for answer in self.truth()["answers"])


class ProxyProcess(Process):
    """``python -m proxy serve`` in a folder of its own; ``settings`` without their prefix."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        *,
        managed: bool = True,
        program: Sequence[str] = SERVE,
        **settings: object,
    ) -> None:
        self.database = folder / "weighbridge.db"
        given = {
            "port": 0,
            "upstream_base_url": upstream,
            "database_url": f"sqlite:///{self.database}",
            "pricing_file": ROOT / "pricing.toml",
            "log_format": "json",
        }
        if managed:
            given["upstream_api_key"] = UPSTREAM_KEY
        named = {f"PROXY_{name.upper()}": str(value) for name, value in (given | settings).items()}
        super().__init__(program, folder, named)
        self.base_url = ""
        self.port = 0

    def start(self) -> Self:
        """Start, or start again after a death: on the same ledger, on another port."""
        self.base_url = self.launch().rpartition(" ")[2]
        self.port = int(self.base_url.removesuffix("/v1").rpartition(":")[2])
        return self

    @property
    def address(self) -> str:
        return self.base_url.removesuffix("/v1")

    def key(self, customer: str = "acme", *, plan: str = "default") -> str:
        """Make a key in the ledger, and what is missing for it, as ``keys create`` does."""
        secret = f"wb-{secrets.token_urlsafe(32)}"

        async def make(ledger: SqliteLedger) -> None:
            await ledger.make_customer(customer)
            await ledger.make_subscription(
                customer, customer=customer, plan=plan, started_at=datetime(2020, 1, 1, tzinfo=UTC)
            )
            await ledger.make_key(
                digest=key_digest(secret.encode()),
                prefix=secret[:KEY_PREFIX_LENGTH],
                name=None,
                subscription=customer,
            )

        self._with_ledger(make)
        return secret

    def revoke(self, secret: str) -> None:
        """Revoke a key."""
        self._with_ledger(lambda ledger: ledger.revoke_key(secret[:KEY_PREFIX_LENGTH]))

    def _with_ledger(self, work: Callable[[SqliteLedger], Any]) -> None:
        async def run() -> None:
            ledger = await SqliteLedger.open_database(self.database, worker=False)
            try:
                await work(ledger)
            finally:
                await ledger.close()

        # In a thread: tests that have an event loop running make keys, too.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()

    def usage(self, secret: str) -> dict[str, Any]:
        """Return ``GET /usage/current``."""
        bearer = {"Authorization": f"Bearer {secret}"}
        usage: dict[str, Any] = get_json(f"{self.address}/usage/current", bearer)
        return usage

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Read the ledger's tables directly."""
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def requests(self, subscription: str = "%") -> list[dict[str, Any]]:
        """Return the ledger's requests, oldest first; those of one subscription, if it is named."""
        return self.rows(
            "SELECT requests.*, external_id AS subscription FROM requests LEFT JOIN subscriptions"
            " ON subscriptions.id = subscription_id WHERE coalesce(external_id, '') LIKE ?"
            " ORDER BY requests.id",
            subscription,
        )

    def states(self) -> Counter[str]:
        """Count the ledger's requests by state."""
        return Counter(request["state"] for request in self.requests())

    def settled(self, count: int, *, subscription: str = "%") -> list[dict[str, Any]]:
        """Wait until ``count`` requests are in the ledger and none is open; return them."""

        requests: list[dict[str, Any]] = []

        def all_settled() -> bool:
            requests[:] = self.requests(subscription)
            return len(requests) >= count and all(row["settled_at_us"] for row in requests)

        until(all_settled)
        return requests

    def tokens(self) -> Counter[str]:
        """Sum the ledger's token events by type."""
        rows = self.rows(
            "SELECT type, sum(quantity) AS quantity FROM events JOIN series ON"
            " series.id = events.series_id WHERE metric = 'tokens' GROUP BY type"
        )
        return Counter({row["type"]: row["quantity"] for row in rows})

    def check_sums(self) -> None:
        """Assert that sums equal events, by quarter hour and by day."""
        for table, slot, seconds in (("quarter", "quarter", 900), ("day", "day", 86_400)):
            from_events = self.rows(
                f"SELECT series_id, occurred_at_us / {seconds * 1_000_000} AS slot,"  # noqa: S608
                " sum(quantity) AS quantity FROM events GROUP BY 1, 2 ORDER BY 1, 2"
            )
            kept = self.rows(
                f"SELECT series_id, {slot} AS slot, quantity FROM sums_{table} ORDER BY 1, 2"  # noqa: S608
            )
            assert kept == from_events, table
