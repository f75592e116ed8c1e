"""A small file system that really fills up under load, and is emptied again."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.harness import check, ready
from tests.crash.test_disk_faults import refused
from tests.e2e.test_kill import Load
from tests.proxy_process import ProxyProcess, UpstreamProcess, until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder))
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("mounting needs root; test_disk_faults.py shows the same with a failing disk")
    yield folder
    subprocess.run(("umount", "--lazy", str(folder)), check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


def test_a_disk_that_fills_up(small_disk: Path, tmp_path: Path) -> None:
    load = Load(clients=8)
    filler = small_disk / "filler"
    with (
        UpstreamProcess(tmp_path / "upstream") as upstream,
        ProxyProcess(
            small_disk / "proxy", upstream.start().base_url, spool_dir=tmp_path / "spool"
        ) as proxy,
    ):
        proxy.start()
        key = proxy.key()
        load.start(key, lambda: proxy.port)
        try:
            until(lambda: len(load.whole) > 20)
            fill(filler)
            until(lambda: refused(proxy, key, "full"))
            until(lambda: ready(proxy) == 503)
            time.sleep(1.0)
            filler.unlink()
            until(lambda: ready(proxy) == 200)
            served = len(load.whole)
            until(lambda: len(load.whole) > served + 20)
        finally:
            load.stop()
        proxy.settled(len(load.whole))
        found = check(proxy, upstream, load.whole)
        assert found.states.keys() <= {"exact", "failed"}
        assert not list((tmp_path / "spool").iterdir())
        assert not proxy.terminate()
