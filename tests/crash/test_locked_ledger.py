"""Another process holds the ledger: 503 before anything is sent, answers by way of the spool."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.harness import check, hold_ledger, ready, spooled
from tests.crash.test_disk_faults import Asking, refused
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

# The ledger refuses openings when it has not answered for five seconds.
SECONDS = 8.0
SOAK_SECONDS = 30.0


def play(tmp_path: Path, seconds: float) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(UpstreamProcess(tmp_path / "upstream")).start()
        proxy = stack.enter_context(
            ProxyProcess(tmp_path / "proxy", upstream.base_url, settle_timeout="1")
        )
        proxy.start()
        key = proxy.key()
        running = [Asking(proxy, key, f"r{n}", stream=n > 1) for n in range(6)]
        until(lambda: len(upstream.truth()["answers"]) == 6)
        with hold_ledger(proxy.database, seconds) as holder:
            for asking in running:
                asking.whole()
            assert spooled(proxy) == 6
            assert refused(proxy, key, "refused")
            assert ready(proxy) == 503
            assert holder.poll() is None, "the lock was to be held all the time"
            assert len(upstream.truth()["answers"]) == 6
        until(lambda: ready(proxy) == 200)
        until(lambda: spooled(proxy) == 0)
        time.sleep(0.5)
        until(lambda: not refused(proxy, key, "after"))
        proxy.settled(7)
        found = check(proxy, upstream, {f"r{n}" for n in range(6)})
        assert found.states["exact"] >= 7
        # An opening that was written after all, when its client had been refused, used nothing.
        assert found.states.keys() <= {"exact", "failed"}


def test_locked_for_a_while(tmp_path: Path) -> None:
    play(tmp_path, SECONDS)


@pytest.mark.soak
def test_locked_for_half_a_minute(tmp_path: Path) -> None:
    play(tmp_path, SOAK_SECONDS)
