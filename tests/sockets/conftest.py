"""An upstream of WebSockets for each test; proxies before it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.proxy_process import ProxyProcess
from tests.sockets.upstream import SocketUpstream

StartProxy = Callable[..., ProxyProcess]


@pytest.fixture
async def upstream() -> AsyncIterator[SocketUpstream]:
    async with SocketUpstream() as upstream:
        yield upstream


@pytest.fixture
def start_proxy(tmp_path: Path, upstream: SocketUpstream) -> Iterator[StartProxy]:
    """Start proxies of this test's own: ``start_proxy(setting=value)``."""
    with ExitStack() as stack:
        numbers = iter(range(100))

        def start(**settings: Any) -> ProxyProcess:
            folder = tmp_path / f"proxy-{next(numbers)}"
            proxy = ProxyProcess(folder, upstream.base_url, **settings)
            return stack.enter_context(proxy).start()

        yield start
