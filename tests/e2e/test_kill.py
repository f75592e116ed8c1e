"""SIGKILL at named points, each shown to be hit, and at random moments under load."""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.demo.behaviour import HEADER
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Answer, Client, request
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

PROGRAM = ("-m", "tests.e2e.crashing_proxy", "kill")
TEXT = b"Every lorry that crosses is weighed, once."


def completion(key: str, model: str, how: str = "", *, stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": TEXT.decode()}]
    body = json.dumps({"model": model, "messages": messages, "stream": stream}).encode()
    return request("/v1/chat/completions", key=key, headers={HEADER: how}, body=body)


def check_against_truth(proxy: ProxyProcess, upstream: UpstreamProcess) -> None:
    """Assert what holds after any death: nothing lost, nothing twice, sums equal events."""
    requests = Counter(row["model_requested"] for row in proxy.requests())
    for answer in upstream.truth()["answers"]:
        assert requests[answer["model_requested"]] == 1, answer
    assert all(row["settled_at_us"] for row in proxy.requests())
    settled = {row["model_requested"]: row for row in proxy.requests()}
    exact = proxy.rows(
        "SELECT requests.model_requested, type, sum(quantity) AS quantity FROM events"
        " JOIN series ON series.id = series_id JOIN requests ON requests.id = request_id"
        " WHERE metric = 'tokens' AND source = 'exact' GROUP BY 1, 2"
    )
    truth = {a["model_requested"]: a for a in upstream.truth()["answers"]}
    for row in exact:
        name = {"input": "prompt_tokens", "output": "completion_tokens"}[row["type"]]
        assert row["quantity"] == truth[row["model_requested"]][name], row
        assert settled[row["model_requested"]]["state"] == "exact"
    proxy.check_sums()


POINTS = [
    # points, seconds, script, reaches the upstream, what the client of a stream has, state after
    ("opening", "0", "", False, b"", None),
    ("opening/before_commit", "0", "", False, b"", None),
    ("opening/after_commit", "0", "", False, b"", "abandoned"),
    ("opened", "0", "", False, b"", "abandoned"),
    ("sent", "0.2", "latency=60", True, b"", "abandoned"),
    ("sent", "0.3", "gap=60", True, b"data", "abandoned"),
    ("measured", "0", "", True, b"Every", "abandoned"),
    ("measured/before_commit", "0", "", True, b"Every", "abandoned"),
    ("measured/after_commit", "0", "", True, b"Every", "exact"),
    ("settled", "0", "", True, b"Every", "exact"),
    ("released", "0.1", "", True, b"[DONE]", "exact"),
]


NOT_STREAMED = {"opened", "sent", "measured/before_commit", "settled", "released"}
CASES = [
    (*point, stream)
    for point in POINTS
    for stream in (True, False)
    if stream or (point[0] in NOT_STREAMED and point[2] != "gap=60")
]


@pytest.mark.parametrize(
    ("points", "seconds", "how", "reaches", "has", "state", "stream"),
    CASES,
    ids=[f"{points}+{seconds}-{stream}" for points, seconds, *_, stream in CASES],
)
def test_killed_at(
    openai_like: UpstreamProcess,
    tmp_path: Path,
    start_proxy: StartProxy,
    points: str,
    seconds: str,
    how: str,
    reaches: bool,
    has: bytes,
    state: str | None,
    stream: bool,
) -> None:
    sign = tmp_path / "hit"
    program = (*PROGRAM, points, str(sign), seconds)
    proxy = start_proxy(openai_like.base_url, program=program)
    key = proxy.key()
    with Client(proxy.port) as client:
        client.send(completion(key, "the-one", how, stream=stream))
        answer = read_what_comes(client)
    proxy.wait()
    assert sign.exists()
    assert len(openai_like.truth()["answers"]) == reaches
    released = points == "released"
    assert answer.whole == released
    if stream:
        assert has in answer.body
        assert bool(has) == bool(answer.body)
        assert (b"[DONE]" in answer.body) == released

    again = ProxyProcess(proxy.database.parent, openai_like.base_url)
    with again:
        again.start()
        states = {row["model_requested"]: row["state"] for row in again.settled(bool(state))}
        assert states == ({"the-one": state} if state else {})
        check_against_truth(again, openai_like)
        if state == "abandoned":
            assert again.tokens()["input"] > 0
        with Client(again.port) as client:
            client.send(completion(key, "the-next"))
            assert client.answer().whole
        assert again.states()["exact"] == (1 if state != "exact" else 2)


def read_what_comes(client: Client) -> Answer:
    try:
        return client.answer()
    except EOFError:
        return Answer(status=0, reason=b"", headers=[], whole=False)


class Load:
    """Clients that ask all the time, each request for a model of its own."""

    def __init__(self, clients: int) -> None:
        self._stopping = threading.Event()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._address: Callable[[], int] = lambda: 0
        self._key = ""
        self.whole: set[str] = set()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def start(self, key: str, port: Callable[[], int]) -> None:
        self._key, self._address = key, port
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                with Client(self._address()) as client:
                    while not self._stopping.is_set() and self._one(client):
                        pass
            except OSError:
                time.sleep(0.02)

    def _one(self, client: Client) -> bool:
        with self._lock:
            number = next(self._numbers)
        name = f"load-{number}"
        stream = number % 3 > 0
        client.send(completion(self._key, name, "gap=0.002,cached=0", stream=stream))
        answer = read_what_comes(client)
        if answer.whole and answer.status == 200:
            with self._lock:
                self.whole.add(name)
        return answer.whole


def test_killed_at_random_moments_under_load(openai_like: UpstreamProcess, tmp_path: Path) -> None:
    dice = random.Random(20)
    load = Load(clients=12)
    with ProxyProcess(tmp_path / "proxy", openai_like.base_url, access_log="false") as proxy:
        proxy.start()
        load.start(proxy.key(), lambda: proxy.port)
        try:
            for _ in range(20):
                before = len(load.whole)
                until(lambda before=before: len(load.whole) > before + 3)  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.15))
                proxy.kill()
                proxy.start()
        finally:
            load.stop()
        states = Counter(row["state"] for row in proxy.settled(len(load.whole)))
        check_against_truth(proxy, openai_like)
        state = {row["model_requested"]: row["state"] for row in proxy.requests()}
        # Whoever has a whole answer has its usage in the ledger.
        assert {state[name] for name in load.whole} == {"exact"}
        assert states["abandoned"] > 0
        assert not states.keys() - {"exact", "abandoned", "failed", "partial"}
