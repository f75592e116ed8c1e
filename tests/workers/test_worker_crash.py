"""SIGKILL of one worker of several: nothing lost, nothing twice, and nothing of the others."""

import random
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxy.ledger.locks import worker_path
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import ask
from tests.e2e.test_kill import Load, check_against_truth, completion
from tests.proxy_process import ProxyProcess, UpstreamProcess, until
from tests.workers.processes import by_worker, kill, serving, spread, workers

KILLS = 5


def pid_of(proxy: ProxyProcess, worker_id: int) -> int:
    rows = proxy.rows("SELECT pid FROM workers WHERE id = ?", worker_id)
    pid: int = rows[0]["pid"]
    return pid


def test_a_sibling_abandons_what_a_dead_worker_left(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    first = start_proxy(openai_like.base_url)
    second = start_proxy(openai_like.base_url, database_url=f"sqlite:///{first.database}")
    key = first.key()
    doomed = spread(first, [completion(key, f"doomed-{n}", "latency=60") for n in range(3)])
    living = spread(second, [completion(key, f"living-{n}", "latency=5") for n in range(3)])
    until(lambda: len(openai_like.truth()["answers"]) == 6)
    until(lambda: len(first.requests()) == 6)
    first.kill()
    until(lambda: first.states() == {"abandoned": 3, "open": 3})
    states = {row["model_requested"]: row["state"] for row in first.requests()}
    assert all(states[f"doomed-{n}"] == "abandoned" for n in range(3))
    for client in living:
        with client:
            assert client.answer().whole
    assert second.terminate() == 0
    assert first.states() == {"abandoned": 3, "exact": 3}
    first.check_sums()
    for client in doomed:
        client.close()


def test_the_requests_of_a_killed_worker_are_abandoned_and_no_others(
    openai_like: UpstreamProcess, start_proxy: StartProxy
) -> None:
    proxy = start_proxy(openai_like.base_url, workers=2)
    key = proxy.key()
    serving(proxy, 2)
    clients = spread(proxy, [completion(key, f"m-{n}", "gap=0.7") for n in range(16)])
    until(lambda: len(openai_like.truth()["answers"]) == 16)
    opened = by_worker(proxy)
    assert len(opened) == 2, "the kernel spreads connections over those that listen"
    dead = min(opened)
    kill(pid_of(proxy, dead))

    def abandoned() -> bool:
        with suppress(sqlite3.OperationalError):
            return {row["state"] for row in by_worker(proxy)[dead]} == {"abandoned"}
        return False

    until(abandoned)
    until(lambda: not worker_path(proxy.database, dead).exists())
    living = max(opened)
    states = {row["state"] for row in by_worker(proxy)[living]}
    assert states <= {"open", "exact"}
    whole = 0
    for client in clients:
        with client, suppress(EOFError):
            whole += client.answer().whole
    assert whole == len(opened[living])
    serving(proxy, 2)
    for n in range(8):
        assert ask(proxy.port, completion(key, f"after-{n}")).whole
    assert proxy.terminate() == 0
    assert proxy.states() == {"abandoned": len(opened[dead]), "exact": len(opened[living]) + 8}
    check_against_truth(proxy, openai_like)


def test_workers_killed_at_random_under_load(openai_like: UpstreamProcess, tmp_path: Path) -> None:
    dice = random.Random(4)
    load = Load(clients=12)
    settings: dict[str, Any] = {"workers": 2, "access_log": "false"}
    with ProxyProcess(tmp_path / "proxy", openai_like.base_url, **settings) as proxy:
        proxy.start()
        load.start(proxy.key(), lambda: proxy.port)
        try:
            for _ in range(KILLS):
                before = len(load.whole)
                until(lambda before=before: len(load.whole) > before + 10)  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.2))
                kill(dice.choice(until(lambda: workers(proxy))))
        finally:
            load.stop()
        serving(proxy, 2)
        states = Counter(row["state"] for row in proxy.settled(len(load.whole)))
        assert proxy.terminate() == 0
        check_against_truth(proxy, openai_like)
        state = {row["model_requested"]: row["state"] for row in proxy.requests()}
        # Whoever has a whole answer has its usage in the ledger.
        assert {state[name] for name in load.whole} == {"exact"}
        assert states["abandoned"] > 0
        assert not states.keys() - {"exact", "abandoned", "failed", "partial"}
        assert proxy.rows("SELECT * FROM workers") == []
