"""``weighbridge demo`` shows the main job, from any directory, whatever is set there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.demo import requests
from proxy.demo.requests import EXAMPLES, run_examples
from proxy.settings import child_environment

ROOT = Path(__file__).parents[2]
NO_WAY_OUT = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
"""What machines behind a company's proxy have set; nothing listens there."""


def test_demo(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROXY_PORT=none\nPROXY_UPSTREAM_API_KEY=sk-precious\n")
    environment = child_environment(
        PYTHONPATH=str(ROOT),
        TMPDIR=str(tmp_path),
        PROXY_DATABASE_URL="sqlite:///elsewhere.db",
        **NO_WAY_OUT,
    )
    ran = subprocess.run(
        [sys.executable, "-m", "proxy", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [example.shows for example in EXAMPLES if example.shows not in ran.stdout] == []
    for figures in (("cached_input", "4,096"), ("output", "2,600"), ("input", "800")):
        assert re.search(r"\s{2,}".join(figures), ran.stdout)
    assert "requests: 5 exact, 1 estimated\n" in ran.stdout
    assert "The upstream reported 7,9" in ran.stdout
    assert "sk-precious" not in ran.stdout
    assert ran.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.fixture
def upstream() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "proxy.demo"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize("installed", [True, False])
def test_same_answers_with_and_without_the_sdk(
    upstream: str, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    for name, value in NO_WAY_OUT.items():
        monkeypatch.setenv(name, value)
    if not installed:
        monkeypatch.setitem(sys.modules, "openai", None)
    assert requests.sdk_installed() is installed
    texts = [text for _, text in run_examples(upstream, "any")]
    assert texts == ["Every lorry that crosses is"] * 4 + ["(a tool call)"] + texts[:1]
