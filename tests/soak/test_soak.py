"""Mixed load with faults, for long: memory stays flat and nothing is left behind.

Half a minute in the run, half an hour in ``make soak``.
"""

import errno
import random
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.crash.harness import FailingDisk, SpoiledProxy, check, hold_ledger, spooled
from tests.e2e.raw_http import Client
from tests.e2e.test_kill import Load, completion
from tests.proxy_process import UpstreamProcess, until

SECONDS = 30.0
SOAK_SECONDS = 1_800.0
CLIENTS = 8
WARM_S = 10.0
GROWTH_BYTES = 24 << 20
"""What the allocator and the caches of names may still take after the warm-up."""
SCRIPTS = (
    "",
    "gap=0.005",
    "cached=3",
    "no-usage",
    "status=500",
    "status=429",
    "die-after=2",
    "error-after=2",
    "latency=0.1",
    "no-options",
)


class Rude(threading.Thread):
    """A client that asks for all kinds of answers and leaves in the middle of many."""

    def __init__(self, proxy: SpoiledProxy, key: str, seed: int) -> None:
        super().__init__()
        self._proxy = proxy
        self._key = key
        self._dice = random.Random(seed)
        self._number = seed * 10_000_000
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            with suppress(OSError, EOFError), Client(self._proxy.port) as client:
                client.socket.settimeout(10)
                for _ in range(self._dice.randrange(1, 4)):
                    self._ask(client)

    def _ask(self, client: Client) -> None:
        self._number += 1
        dice = self._dice
        how = dice.choice(SCRIPTS)
        client.send(completion(self._key, f"rude-{self._number}", how, stream=dice.random() < 0.7))
        if dice.random() < 0.3:
            time.sleep(dice.choice((0.0, 0.001, 0.02)))
            raise EOFError
        client.answer()


class Trouble(threading.Thread):
    """Now and then the ledger is locked, or its disk fails."""

    def __init__(self, proxy: SpoiledProxy, disk: FailingDisk, seed: int) -> None:
        super().__init__()
        self._proxy = proxy
        self._disk = disk
        self._dice = random.Random(seed)
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.wait(self._dice.uniform(1.0, 6.0)):
            seconds = self._dice.choice((0.05, 0.5, 1.5))
            if self._dice.random() < 0.5:
                with hold_ledger(self._proxy.database, seconds) as holder:
                    holder.wait()
                continue
            number = self._dice.choice((errno.ENOSPC, errno.EIO))
            self._disk.fail(self._dice.choice(("write", "fsync")), number, "weighbridge.db-wal")
            self.stopping.wait(seconds)
            self._disk.mend()


def play(tmp_path: Path, seconds: float) -> None:
    disk = FailingDisk(tmp_path)
    disk.build()
    with ExitStack() as stack:
        upstream = stack.enter_context(UpstreamProcess(tmp_path / "upstream")).start()
        proxy = stack.enter_context(
            SpoiledProxy(
                tmp_path / "proxy",
                upstream.base_url,
                disk,
                access_log="false",
                settle_timeout="0.5",
                drain_timeout_s="5",
            )
        )
        proxy.start()
        before = Path(f"/proc/{proxy.process.pid}/fd")
        resting = len(list(before.iterdir()))
        key = proxy.key()
        most = {"concurrent_requests": 1_000}
        proxy._with_ledger(lambda ledger: ledger.set_limits(most, subscription="acme"))
        load = Load(CLIENTS // 2)
        others = [Rude(proxy, key, seed) for seed in range(1, CLIENTS // 2 + 1)]
        trouble = Trouble(proxy, disk, seed=7)
        load.start(key, lambda: proxy.port)
        for thread in (*others, trouble):
            thread.start()
        try:
            time.sleep(min(WARM_S, seconds / 3))
            warm = proxy.rss_bytes
            time.sleep(seconds - min(WARM_S, seconds / 3))
        finally:
            for stopping in (trouble.stopping, *(one.stopping for one in others)):
                stopping.set()
            for thread in (trouble, *others):
                thread.join()
            disk.mend()
            load.stop()
        until(lambda: spooled(proxy) == 0)
        served = len(load.whole)
        proxy.settled(served)
        assert [row["running"] for row in proxy.rows("SELECT running FROM limit_states")] == [0]
        grown = proxy.rss_bytes - warm
        found = check(proxy, upstream, load.whole)
        print(f"{seconds:g} s: {found}; memory grew by {grown >> 10:,} KiB")  # noqa: T201
        assert grown < GROWTH_BYTES
        # What is kept alive towards the upstream may stay for a while; one more ledger connection.
        idle = CLIENTS + 4
        with suppress(AssertionError):
            until(lambda: len(list(before.iterdir())) <= resting + idle, patience_s=60)
        left_open = sorted(str(link.readlink()) for link in before.iterdir())
        assert len(left_open) <= resting + idle, left_open
        assert len(list(Path(f"/proc/{proxy.process.pid}/task").iterdir())) < 16
        assert not proxy.terminate()
        left = {file.name for file in proxy.database.parent.iterdir()}
        assert not {name for name in left if ".worker-" in name or name.endswith("-wal")}
        assert not list(proxy.database.with_name("weighbridge.db.spool").glob("*"))


def test_half_a_minute(tmp_path: Path) -> None:
    play(tmp_path, SECONDS)


@pytest.mark.soak
def test_half_an_hour(tmp_path: Path) -> None:
    play(tmp_path, SOAK_SECONDS)
