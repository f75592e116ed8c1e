"""64 clients race on a budget of $1 over two workers: it is never passed, and it is used."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from tests.limits.racing import PRICES, check_states, race, spent, used
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

RACES = 20
REQUESTS_BEFORE_DEATH = 25
ONE = Decimal(1)
ENOUGH = Decimal("0.97")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[UpstreamProcess]:
    with UpstreamProcess(tmp_path / "upstream") as upstream:
        yield upstream.start()


@pytest.fixture
def pricing(tmp_path: Path) -> Path:
    path = tmp_path / "pricing.toml"
    path.write_text(PRICES)
    return path


def nothing_runs(proxy: ProxyProcess, customer: str) -> bool:
    return spent(proxy, customer)[2] == 0


def test_64_clients_race_on_a_dollar(
    tmp_path: Path, upstream: UpstreamProcess, pricing: Path
) -> None:
    with ProxyProcess(
        tmp_path / "proxy", upstream.base_url, pricing_file=pricing, workers=2
    ) as proxy:
        proxy.start()
        for number in range(RACES):
            customer = f"racer-{number}"
            key = proxy.key(customer)
            told = asyncio.run(race([proxy.base_url], key))
            until(partial(nothing_runs, proxy, customer))
            total, reserved, _ = spent(proxy, customer)
            assert ENOUGH <= total <= ONE
            assert total == used(proxy, customer) == Decimal(told.answered) / 100
            assert reserved == 0
            assert told.refusals["insufficient_quota"] == 64
            assert set(told.refusals) <= {"insufficient_quota", "rate_limit_exceeded"}
        assert len(proxy.rows("SELECT DISTINCT worker_id FROM requests")) == 2
        check_states(proxy)
        billed = [a for a in upstream.truth()["answers"] if a["outcome"] == "finished"]
        assert len(billed) == sum(used(proxy, f"racer-{n}") for n in range(RACES)) * 100


def test_nothing_stays_reserved_after_kill_9(
    tmp_path: Path, upstream: UpstreamProcess, pricing: Path
) -> None:
    """One of two processes on one ledger is killed in mid-race; the race goes on by the other."""
    with (
        ProxyProcess(tmp_path, upstream.base_url, pricing_file=pricing) as first,
        ProxyProcess(tmp_path, upstream.base_url, pricing_file=pricing) as second,
    ):
        first.start()
        second.start()
        key = first.key()
        urls = [first.base_url, second.base_url]

        def kill() -> None:
            until(lambda: len(first.requests()) > REQUESTS_BEFORE_DEATH)
            first.kill()
            urls[0] = first.start().base_url

        with ThreadPoolExecutor(1) as thread:
            killed = thread.submit(kill)
            told = asyncio.run(race(urls, key))
            killed.result()
        until(lambda: all(row["settled_at_us"] for row in second.requests()))
        total, reserved, running = spent(second, "acme")
        assert total <= ONE
        assert (reserved, running) == (0, 0)
        assert told.answered
        check_states(second)
