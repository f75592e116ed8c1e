"""A scripted upstream that keeps objects, and proxies before it that ask often."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.deferred.objects_upstream import Objects
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess

StartProxy = Callable[..., ProxyProcess]
NEVER_S = 3600
OFTEN_S = 0.05
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture
def upstream(scripted: ScriptedThread) -> Objects:
    objects = Objects()
    scripted.answers(objects)
    return objects


def _module_proxy(
    scripted: ScriptedThread, folder: Path, **settings: Any
) -> Iterator[ProxyProcess]:
    with ProxyProcess(folder, scripted.base_url, **settings) as proxy:
        yield proxy.start()


@pytest.fixture
def managed(scripted: ScriptedThread, tmp_path: Path) -> Iterator[ProxyProcess]:
    """In managed mode; it asks often."""
    yield from _module_proxy(scripted, tmp_path / "managed", poll_interval_s=OFTEN_S)


@pytest.fixture
def quiet(scripted: ScriptedThread, tmp_path: Path) -> Iterator[ProxyProcess]:
    """In managed mode; it does not ask before the test is over."""
    yield from _module_proxy(scripted, tmp_path / "quiet", poll_interval_s=NEVER_S)


@pytest.fixture
def passthrough(scripted: ScriptedThread, tmp_path: Path) -> Iterator[ProxyProcess]:
    """In passthrough mode; it asks often."""
    yield from _module_proxy(
        scripted, tmp_path / "passthrough", managed=False, poll_interval_s=OFTEN_S
    )


@pytest.fixture
def reads_only(scripted: ScriptedThread, tmp_path: Path) -> Iterator[ProxyProcess]:
    """In passthrough mode; it does not ask before the test is over."""
    yield from _module_proxy(scripted, tmp_path / "reads", managed=False, poll_interval_s=NEVER_S)


@pytest.fixture
def start_proxy(scripted: ScriptedThread, tmp_path: Path) -> Iterator[StartProxy]:
    """Start a proxy of this test's own, on the ledger of the test."""
    with ExitStack() as stack:

        def start(**settings: Any) -> ProxyProcess:
            proxy = ProxyProcess(tmp_path / "own", scripted.base_url, **settings)
            return stack.enter_context(proxy).start()

        yield start
