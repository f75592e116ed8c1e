"""What a client with limits sees: headers, refusals, and its budget in the usage."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.proxy_process import ProxyProcess, UpstreamProcess

PRICES = """
currency = "USD"
package_size = 1
[models."demo"]
match = ["demo-*"]
input = 0
output = 0.01
[plans.tight.limits]
spend_total = 0.10
soft_thresholds = [0.3]
[plans.slow.limits]
requests_per_minute = 2
tokens_per_minute = 5000
[plans.slow.key_limits]
concurrent_requests = 1
"""
MODEL = "demo-completion=4+prompt=7"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: Any


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder: Path = tmp_path_factory.mktemp("limits")
    (folder / "pricing.toml").write_text(PRICES)
    with UpstreamProcess(folder / "upstream") as upstream:
        upstream.start()
        pricing = folder / "pricing.toml"
        with ProxyProcess(folder / "proxy", upstream.base_url, pricing_file=pricing) as proxy:
            yield proxy.start()


def ask(proxy: ProxyProcess, key: str, *, model: str = MODEL, limit: int | None = 4) -> Answer:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "weigh"}]}
    if limit is not None:
        body["max_completion_tokens"] = limit
    request = urllib.request.Request(
        f"{proxy.base_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return Answer(answer.status, answer.headers, json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, json.load(error))


def test_a_budget_from_the_first_cent_to_the_last(proxy: ProxyProcess) -> None:
    key = proxy.key("tight", plan="tight")
    first = ask(proxy, key)
    assert first.status == 200
    assert first.headers["x-weighbridge-budget"] is None
    second = ask(proxy, key)
    assert second.headers["x-weighbridge-budget"] == "warning; used=0.4"
    budget = proxy.usage(key)["budget"]
    assert budget["state"] == "warning"
    assert budget["spend"]["total"] | {"resets_at": 0} == {
        "limit": "0.10",
        "spent": "0.08",
        "reserved": "0.00",
        "remaining": "0.02",
        "used": "0.8",
        "resets_at": 0,
    }
    third = ask(proxy, key)
    assert third.status == 429
    assert third.headers["x-should-retry"] == "false"
    assert third.headers["retry-after"] is None
    error = third.body["error"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert "limit 0.10 (in total), spent 0.08, reserved 0.00" in error["message"]
    assert ask(proxy, key, limit=2).status == 200
    assert "budget threshold reached: Subscription tight has used 0.4" in proxy.log
    assert len(proxy.requests("tight")) == 3


def test_an_sdk_does_not_retry_what_is_no_use(proxy: ProxyProcess) -> None:
    key = proxy.key("spender", plan="tight")
    client = openai.OpenAI(base_url=proxy.base_url, api_key=key, max_retries=3)
    with client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}], max_completion_tokens=999
        )
    assert caught.value.code == "insufficient_quota"
    assert proxy.log.count('"spender"') <= 1


def test_rates_are_told_and_kept(proxy: ProxyProcess) -> None:
    key = proxy.key("slow", plan="slow")
    first = ask(proxy, key)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"].endswith("s")
    assert first.headers["x-ratelimit-limit-tokens"] == "5000"
    assert ask(proxy, key, model="unpriced").status == 200
    third = ask(proxy, key)
    assert (third.status, third.body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert int(third.headers["retry-after-ms"]) <= 30_000
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert third.headers["x-should-retry"] is None


def test_a_model_without_a_price_is_refused_to_a_budget(proxy: ProxyProcess) -> None:
    refused = ask(proxy, proxy.key("priced", plan="tight"), model="demi")
    assert refused.status == 400
    assert refused.body["error"]["code"] == "model_not_priced"
    assert "demo" in refused.body["error"]["message"]


def test_the_models_stay_readable_without_a_budget(proxy: ProxyProcess) -> None:
    key = proxy.key("reader", plan="tight")
    request = urllib.request.Request(
        f"{proxy.base_url}/models", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def test_a_limit_holds_at_once_for_a_worker_that_does_not_know_it(proxy: ProxyProcess) -> None:
    key = proxy.key("sudden")
    assert ask(proxy, key).status == 200

    proxy._with_ledger(
        lambda ledger: ledger.set_limits({"requests_per_minute": 1}, subscription="sudden")
    )
    assert [ask(proxy, key).status for _ in range(3)] == [200, 429, 429]
