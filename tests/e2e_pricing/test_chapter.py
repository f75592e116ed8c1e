"""The README's chapter on prices, command by command, as a new operator would go through it."""

import os
import re
import shutil
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e_pricing.shop import get
from tests.proxy_process import ROOT, UPSTREAM_KEY, ProxyProcess, UpstreamProcess, until

CHAPTER = "## Prices"


def commands(text: str) -> list[str]:
    """The chapter's shell blocks, in order."""
    start = text.index(f"\n{CHAPTER}\n")
    end = text.find("\n## ", start + 1)
    return re.findall(r"```sh\n(.*?)```", text[start : end if end > 0 else None], re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Someone in a folder with a pricing file, before a running proxy, with a key and a request."""

    folder: Path
    proxy: ProxyProcess
    key: str
    request: str

    def run(self, script: str) -> str:
        """Run a block in a shell that stops at the first failure; return all that it printed."""
        script = script.replace("http://127.0.0.1:8080", self.proxy.address)
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PROXY_DATABASE_URL": f"sqlite:///{self.proxy.database}",
                "PROXY_UPSTREAM_API_KEY": UPSTREAM_KEY,
                "OPENAI_API_KEY": self.key,
                "REQUEST_ID": self.request,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0 or "weighbridge check" in script, printed
        return printed

    @property
    def sequence(self) -> int:
        return int(get(self.proxy.address, "/readyz")["pricing"]["sequence"])


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    shutil.copy(ROOT / "pricing.toml", tmp_path)
    command = tmp_path / ".venv" / "bin" / "weighbridge"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m proxy "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    with UpstreamProcess(tmp_path / "upstream") as upstream:
        url = upstream.start().base_url
        prices = tmp_path / "pricing.toml"
        with ProxyProcess(tmp_path / "proxy", url, pricing_file=prices) as proxy:
            key = proxy.start().key("acme")
            yield Operator(folder=tmp_path, proxy=proxy, key=key, request=ask(proxy, key))


def ask(proxy: ProxyProcess, key: str) -> str:
    """Ask for a completion; return the request's id."""
    request = urllib.request.Request(
        f"{proxy.base_url}/chat/completions",
        data=b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}',
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(answer.headers["x-weighbridge-request-id"])


def test_the_chapter_works_from_its_first_line_to_its_last(operator: Operator) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = iter(commands(readme))
    draft, take, mistake, mend, plan, move, invoice, periods, curl, explain = blocks

    assert operator.run(draft).strip() == "gpt-4o output 10.00 -> 9.00"
    operator.run(take)
    until(lambda: operator.sequence == 2)
    until(lambda: "prices: gpt-4o output 10.00 -> 9.00" in operator.proxy.log)
    until(lambda: "the open period of 1 of 1 subscriptions changed by USD" in operator.proxy.log)
    assert re.search(r"output +default +9\.00 +1,000,000", operator.run(take.splitlines()[1]))

    told = operator.run(mistake)
    place = re.search(r"pricing\.toml:\d+:\d+: not valid TOML: .+", told)
    assert place
    assert f"\nweighbridge: {place[0]}\n" in readme
    until(lambda: place[0] in (get(operator.proxy.address, "/readyz")["pricing"]["refused"] or ""))
    assert place[0] in operator.proxy.log
    assert operator.sequence == 2
    assert "says what is in force" in operator.run(mend)
    until(lambda: get(operator.proxy.address, "/readyz")["pricing"]["refused"] is None)

    assert "Everything can be used" in operator.run(plan)
    until(lambda: operator.sequence == 3)
    shown = operator.run(move)
    assert re.search(r"output +default +10\.80 ", shown)
    assert "is on plan pro" in shown
    ask(operator.proxy, operator.key)

    table = operator.run(invoice)
    assert "proposed, the period is not closed" in table
    assert "plan default" in table
    assert "<title>Proposed invoice</title>" in (operator.folder / "acme.html").read_text()
    assert (operator.folder / "acme.csv").read_text().startswith("metric,model,type")
    assert "Nothing is to be closed" in operator.run(periods)
    answers = operator.run(curl)
    assert '"status":"proposed"' in answers
    assert "<!doctype html>" in answers
    explained = operator.run(explain)
    assert "match       gpt-4o" in explained
    assert "together USD 0.0" in explained


def test_models_outside_of_the_plan_are_none(operator: Operator) -> None:
    with (operator.folder / "pricing.toml").open("a") as file:
        file.write('[plans.pro]\nallowed_models = ["o1"]\n')
    until(lambda: operator.sequence == 2)
    operator.run(".venv/bin/weighbridge subscriptions change-plan acme pro")

    answer = until(lambda: refusal(operator))
    assert answer.startswith("404 ")
    assert '"code":"model_not_found"' in answer


def refusal(operator: Operator) -> str:
    """Ask once; return the status and body of the refusal, or nothing."""
    try:
        ask(operator.proxy, operator.key)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    return ""


def test_models_without_a_price_are_refused_before_anything_is_sent(operator: Operator) -> None:
    path = operator.folder / "pricing.toml"
    text = path.read_text().replace('unpriced = "flag"', 'unpriced = "reject"')
    path.write_text(text.replace('[models."gpt-4o"]', '[models."gpt-4ox"]'))
    until(lambda: operator.sequence == 2)
    before = operator.proxy.requests()

    answer = until(lambda: refusal(operator))
    assert answer.startswith("400 ")
    assert '"code":"model_not_priced"' in answer
    assert "Did you mean gpt-4ox" in answer
    assert operator.proxy.requests() == before
