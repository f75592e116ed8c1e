"""``kill -9`` at random moments, two workers on one ledger, streamed and plain load."""

import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash.harness import check
from tests.e2e.test_kill import Load
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

KILLS = 10
SOAK_KILLS = 100


def play(tmp_path: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    load = Load(clients=10)
    with ExitStack() as stack:
        upstream = stack.enter_context(UpstreamProcess(tmp_path / "upstream")).start()
        first = stack.enter_context(
            ProxyProcess(tmp_path / "first", upstream.base_url, access_log="false")
        ).start()
        second = stack.enter_context(
            ProxyProcess(
                tmp_path / "second",
                upstream.base_url,
                access_log="false",
                database_url=f"sqlite:///{first.database}",
            )
        ).start()
        load.start(first.key(), lambda: random.choice((first.port, second.port)))
        try:
            for _ in range(kills):
                before = len(load.whole)
                until(lambda before=before: len(load.whole) > before + 3)  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.15))
                victims = [first, second] if dice.random() < 0.2 else [dice.choice((first, second))]
                for victim in victims:
                    victim.kill()
                for victim in victims:
                    victim.start()
        finally:
            load.stop()
        first.settled(len(load.whole))
        found = check(first, upstream, load.whole)
        print(f"{kills} kills: {found}")  # noqa: T201 - the figures are for whoever runs it
        assert found.states["abandoned"] > 0
        assert not first.terminate()
        assert not second.terminate()
        assert not list(first.database.parent.glob("*.worker-*"))


def test_killed_at_random_moments(tmp_path: Path) -> None:
    play(tmp_path, KILLS, seed=4)


@pytest.mark.soak
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    play(tmp_path, SOAK_KILLS, seed=random.SystemRandom().randrange(1 << 32))
