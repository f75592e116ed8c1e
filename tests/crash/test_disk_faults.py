"""A disk that is full, or does not sync: nothing goes up unmetered, what runs goes to the spool."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import FailingDisk, SpoiledProxy, check, ready, spooled
from tests.e2e.raw_http import Answer, Client
from tests.e2e.test_kill import completion, read_what_comes
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

FULL = ("write", errno.ENOSPC)
UNSYNCED = ("fsync", errno.EIO)
BROKEN = ("both", errno.EIO)
SLOW = "gap=0.25,pieces=6"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> FailingDisk:
    disk = FailingDisk(tmp_path_factory.mktemp("disk"))
    disk.build()
    return disk


@pytest.fixture
def disk(library: FailingDisk) -> Iterator[FailingDisk]:
    yield library
    library.mend()


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[UpstreamProcess]:
    with UpstreamProcess(tmp_path / "upstream") as upstream:
        yield upstream.start()


@pytest.fixture
def proxy(tmp_path: Path, upstream: UpstreamProcess, disk: FailingDisk) -> Iterator[SpoiledProxy]:
    with SpoiledProxy(tmp_path / "proxy", upstream.base_url, disk) as proxy:
        yield proxy.start()


class Asking(threading.Thread):
    """A client with a request that takes a while."""

    def __init__(self, proxy: ProxyProcess, key: str, name: str, *, stream: bool) -> None:
        super().__init__()
        self._client = Client(proxy.port)
        how = SLOW if stream else "latency=1.0"
        self._client.send(completion(key, name, how, stream=stream))
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        with self._client:
            self.answer = read_what_comes(self._client)

    def whole(self) -> Answer:
        self.join()
        assert self.answer is not None
        assert self.answer.status == 200
        assert self.answer.whole
        return self.answer


def refused(proxy: ProxyProcess, key: str, name: str) -> bool:
    with Client(proxy.port) as client:
        client.send(completion(key, name))
        answer = client.answer()
        return answer.status == 503 and b'"metering_unavailable"' in answer.body


@pytest.mark.parametrize("fault", [FULL, UNSYNCED, BROKEN], ids=["full", "unsynced", "broken"])
def test_a_disk_that_fails(
    proxy: SpoiledProxy, upstream: UpstreamProcess, disk: FailingDisk, fault: tuple[str, int]
) -> None:
    key = proxy.key()
    running = [Asking(proxy, key, f"r{n}", stream=n > 1) for n in range(6)]
    until(lambda: len(upstream.truth()["answers"]) == 6)
    disk.fail(*fault, "weighbridge.db-wal")
    until(lambda: refused(proxy, key, "probe"))
    for n in range(5):
        assert refused(proxy, key, f"refused-{n}")
    for asking in running:
        asking.whole()
    assert spooled(proxy) == 6
    assert ready(proxy) == 503
    asked = upstream.truth()["answers"]
    assert not [a for a in asked if a["model_requested"].startswith("refused")]
    disk.mend()
    until(lambda: ready(proxy) == 200)
    until(lambda: spooled(proxy) == 0)
    with Client(proxy.port) as client:
        client.send(completion(key, "after"))
        assert client.answer().whole
    proxy.settled(7)
    found = check(proxy, upstream, {f"r{n}" for n in range(6)} | {"after"})
    assert found.states["exact"] == found.asked
    assert not proxy.terminate()


def test_killed_with_a_full_spool(
    proxy: SpoiledProxy, upstream: UpstreamProcess, disk: FailingDisk
) -> None:
    """What was spooled by a worker that died is settled, not abandoned; what was not, is."""
    key = proxy.key()
    running = [Asking(proxy, key, f"r{n}", stream=True) for n in range(4)]
    until(lambda: len(upstream.truth()["answers"]) == 4)
    disk.fail(*FULL, "weighbridge.db-wal")
    for asking in running:
        asking.whole()
    disk.mend()
    disk.fail(*FULL, "weighbridge.db")
    endless = Client(proxy.port)
    assert refused(proxy, key, "refused")
    proxy.kill()
    endless.close()
    file = next(proxy.database.with_name("weighbridge.db.spool").glob("*.spool"))
    with file.open("ab") as torn:
        torn.write(file.read_bytes().splitlines()[0][:40])
    disk.mend()
    proxy.start()
    proxy.settled(4)
    found = check(proxy, upstream, {f"r{n}" for n in range(4)})
    assert found.states == {"exact": 4}
    assert spooled(proxy) == 0


def test_where_the_spool_fails_too_the_answer_is_cut(
    proxy: SpoiledProxy, upstream: UpstreamProcess, disk: FailingDisk
) -> None:
    key = proxy.key()
    running = [Asking(proxy, key, f"r{n}", stream=n > 0) for n in range(3)]
    until(lambda: len(upstream.truth()["answers"]) == 3)
    disk.fail(*BROKEN, "weighbridge.db")
    for asking in running:
        asking.join()
        assert asking.answer is not None
        assert not asking.answer.whole
        assert b"[DONE]" not in asking.answer.body
    assert "is cut off unsettled" in proxy.log
    assert proxy.states() == {"open": 3}
    disk.mend()
    proxy.kill()
    proxy.start()
    proxy.settled(3)
    assert check(proxy, upstream, set()).states == {"abandoned": 3}


def test_what_no_disk_took_is_settled_once_one_can_be_written_again(
    proxy: SpoiledProxy, upstream: UpstreamProcess, disk: FailingDisk
) -> None:
    key = proxy.key()
    running = [Asking(proxy, key, f"r{n}", stream=n > 0) for n in range(3)]
    until(lambda: len(upstream.truth()["answers"]) == 3)
    disk.fail(*BROKEN, "weighbridge.db")
    for asking in running:
        asking.join()
        assert asking.answer is not None
        assert not asking.answer.whole
    assert proxy.states() == {"open": 3}
    disk.mend()
    proxy.settled(3)
    assert check(proxy, upstream, set()).states == {"exact": 3}
