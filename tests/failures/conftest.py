"""A proxy that knows prices, before an upstream that says whatever a case needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess

PRICES = """
currency = "USD"
package_size = 1_000_000
[models."gpt-4o"]
match = ["gpt-4o-*"]
input = 2.50
cached_input = 1.25
output = 10.00
[models."claude"]
match = ["claude-*"]
input = 3.00
output = 15.00
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


def _proxy(folder: Path, upstream: ScriptedThread, **settings: object) -> ProxyProcess:
    prices = folder / "pricing.toml"
    prices.write_text(PRICES)
    return ProxyProcess(folder, upstream.base_url, pricing_file=prices, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def proxy(
    upstream: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """In managed mode; it drains for clients that leave."""
    with _proxy(tmp_path_factory.mktemp("draining"), upstream) as proxy:
        yield proxy.start()


@pytest.fixture(scope="module")
def cancelling(
    upstream: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """In managed mode; it cancels for clients that leave, and waits a second for the upstream."""
    with _proxy(
        tmp_path_factory.mktemp("cancelling"),
        upstream,
        on_disconnect="cancel",
        upstream_timeout_s=1,
    ) as proxy:
        yield proxy.start()


@pytest.fixture(scope="module")
def passthrough(
    upstream: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """Clients keep their own keys; every path is forwarded."""
    with _proxy(tmp_path_factory.mktemp("passthrough"), upstream, managed=False) as proxy:
        yield proxy.start()
