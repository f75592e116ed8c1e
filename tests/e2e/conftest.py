"""What the end-to-end tests start: an upstream that keeps account, a scripted one, the proxy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess, UpstreamProcess

StartProxy = Callable[..., ProxyProcess]


@pytest.fixture
def start_proxy(tmp_path: Path) -> Iterator[StartProxy]:
    """Start proxies of this test's own: ``start_proxy(upstream_url, setting=value)``."""
    with ExitStack() as stack:
        numbers = iter(range(100))

        def start(upstream: str, **settings: Any) -> ProxyProcess:
            folder = tmp_path / f"proxy-{next(numbers)}"
            return stack.enter_context(ProxyProcess(folder, upstream, **settings)).start()

        yield start


@pytest.fixture
def openai_like(tmp_path: Path) -> Iterator[UpstreamProcess]:
    """An upstream like OpenAI, in its own process, new for each test."""
    with UpstreamProcess(tmp_path / "upstream") as upstream:
        yield upstream.start()


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedThread]:
    """A scripted upstream for the tests of a module, one after another."""
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def managed(
    scripted: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy in managed mode before the scripted upstream."""
    folder = tmp_path_factory.mktemp("managed")
    with ProxyProcess(folder, scripted.base_url) as proxy:
        yield proxy.start()


@pytest.fixture(scope="module")
def key(managed: ProxyProcess) -> str:
    """A key of the proxy in managed mode."""
    return managed.key()


@pytest.fixture(scope="module")
def passthrough(
    scripted: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    """A proxy in passthrough mode before the scripted upstream."""
    folder = tmp_path_factory.mktemp("passthrough")
    with ProxyProcess(folder, scripted.base_url, managed=False) as proxy:
        yield proxy.start()
