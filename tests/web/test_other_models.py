"""Models that a request names besides its own: admitted, and reserved for, as its own is."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.raw_http import Answer, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import as_json, by_path

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
USAGE = {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
UNITS = {"usage": {"input_tokens": 4, "output_tokens": 1}}
MODELS = """
package_size = 1
[models.cheap]
context_window = 100
input = 0
output = 0.01
[models.dear]
context_window = 1000
input = 0.001
output = 1
"""
PRICES = f"""{MODELS}
[plans.some]
allowed_models = ["cheap", "gpt-4o*"]
models.cheap.output = 0.02
[plans.tight.limits]
spend_total = 2
[plans.ample.limits]
spend_total = 4
""".replace("[models.dear]", '[models."gpt-4o"]\ninput = 0\noutput = 0\n[models.dear]')
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "dear"}
DRAWS = {"type": "image_generation", "model": "dear"}
FILLER = "caf\u00e9 " * 200_000


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedThread]:
    with ScriptedThread() as scripted:
        answers = {CHAT: as_json(USAGE), MESSAGES: as_json(UNITS), RESPONSES: as_json(UNITS)}
        scripted.answers(by_path(answers))
        yield scripted


@pytest.fixture(scope="module")
def proxy(
    upstream: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("others")
    prices = folder / "prices.toml"
    prices.write_text(PRICES)
    with ProxyProcess(folder, upstream.base_url, pricing_file=prices) as process:
        yield process.start()


@pytest.fixture(scope="module")
def keys(proxy: ProxyProcess) -> dict[str, str]:
    return {plan: proxy.key(plan, plan=plan) for plan in ("default", "some", "tight", "ample")}


def post(proxy: ProxyProcess, key: str, path: str, *, zipped: bool = False, **body: Any) -> Answer:
    asked = json.dumps({"model": "cheap", "max_tokens": 1, "max_output_tokens": 1, **body}).encode()
    headers = {"Content-Type": "application/json"}
    if zipped:
        asked, headers["Content-Encoding"] = gzip.compress(asked), "gzip"
    return ask(proxy.port, request(path, key=key, headers=headers, body=asked))


def error(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.body)["error"]
    return told


NAMING: list[tuple[str, dict[str, Any]]] = [
    (MESSAGES, {"fallbacks": [{"model": "dear"}]}),
    (MESSAGES, {"fallbacks": [{"model": "gpt-4o"}, {"model": "dear", "max_tokens": 1}]}),
    (MESSAGES, {"tools": [ADVISOR]}),
    (CHAT, {"models": ["gpt-4o", "dear"]}),
    (CHAT, {"fallbacks": ["dear"]}),
    (CHAT, {"plugins": [{"id": "fusion", "analysis_models": ["cheap", "dear"]}]}),
    (RESPONSES, {"models": ["gpt-4o", "dear"]}),
    (RESPONSES, {"tools": [DRAWS]}),
    (RESPONSES, {"input": [{"type": "additional_tools", "role": "developer", "tools": [DRAWS]}]}),
]


@pytest.mark.parametrize(("path", "members"), NAMING)
def test_a_plan_may_use_none_that_it_does_not_allow(
    upstream: ScriptedThread,
    proxy: ProxyProcess,
    keys: dict[str, str],
    path: str,
    members: dict[str, Any],
) -> None:
    sent = len(upstream.received)
    for more in ({}, {"messages": [{"role": "user", "content": FILLER}]}, {"zipped": True}):
        refused = post(proxy, keys["some"], path, **members, **more)
        assert refused.status == 404
        told = error(refused)
        assert (told["code"], told["param"]) == ("model_not_found", next(iter(members)))
        assert "`dear`" in told["message"]
    escaped = json.dumps({"model": "cheap", **members}).replace("model", r"m\u006fdel").encode()
    headers = {"Content-Type": "application/json"}
    refused = ask(proxy.port, request(path, key=keys["some"], headers=headers, body=escaped))
    assert refused.status == 404
    assert len(upstream.received) == sent
    assert post(proxy, keys["default"], path, **members).status == 200


@pytest.mark.parametrize("members", [{"fallbacks": "default"}, {"models": "gpt-4o"}])
def test_what_leaves_the_choice_open_is_refused_to_who_may_not_use_all(
    proxy: ProxyProcess, keys: dict[str, str], members: dict[str, Any]
) -> None:
    (member,) = members
    for plan, why in (("some", "some models only"), ("tight", "has a budget")):
        refused = post(proxy, keys[plan], MESSAGES, **members)
        assert (refused.status, error(refused)["code"]) == (400, "model_not_named")
        assert why in error(refused)["message"]
        assert f"leave '{member}' out" in error(refused)["message"]
    assert post(proxy, keys["default"], MESSAGES, **members).status == 200


def test_what_a_plan_allows_passes(proxy: ProxyProcess, keys: dict[str, str]) -> None:
    schema = {"type": "object", "properties": {"model": {"type": "string"}}}
    allowed: list[tuple[str, dict[str, Any]]] = [
        (MESSAGES, {"fallbacks": [{"model": "gpt-4o"}]}),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": schema}], "fallbacks": None}),
        (CHAT, {"models": ["cheap", "gpt-4o-mini"]}),
        (RESPONSES, {"tools": [{"type": "image_generation"}]}),
    ]
    for path, members in allowed:
        assert post(proxy, keys["some"], path, **members).status == 200


def test_a_budget_must_have_room_for_all_of_them(
    upstream: ScriptedThread, proxy: ProxyProcess, keys: dict[str, str]
) -> None:
    dear: list[tuple[str, dict[str, Any]]] = [
        (MESSAGES, {"fallbacks": [{"model": "dear"}, {"model": "dear"}]}),
        (MESSAGES, {"fallbacks": [{"model": "dear", "max_tokens": 3}]}),
        (MESSAGES, {"tools": [{**ADVISOR, "max_tokens": 2}]}),
        (CHAT, {"models": ["dear", "dear"]}),
        (RESPONSES, {"tools": [DRAWS]}),
    ]
    for path, members in dear:
        sent = len(upstream.received)
        refused = post(proxy, keys["tight"], path, **members)
        assert (refused.status, error(refused)["code"]) == (429, "insufficient_quota"), members
        assert len(upstream.received) == sent
    fallbacks = [{"model": "dear"}, {"model": "dear"}]
    assert post(proxy, keys["ample"], MESSAGES, fallbacks=fallbacks).status == 200
    tools = [{**ADVISOR, "max_tokens": 2}]
    assert post(proxy, keys["ample"], MESSAGES, tools=tools).status == 200


def test_a_budget_is_for_what_has_a_price(proxy: ProxyProcess, keys: dict[str, str]) -> None:
    refused = post(proxy, keys["ample"], MESSAGES, fallbacks=[{"model": "deer"}])
    assert (refused.status, error(refused)["code"]) == (400, "model_not_priced")
    assert "'deer'" in error(refused)["message"]
    assert "dear" in error(refused)["message"]
    internal = [{"type": "advisor_20260301", "model": "internal"}]
    assert post(proxy, keys["default"], MESSAGES, tools=internal).status == 200


def test_where_unpriced_models_are_refused_so_are_these(
    upstream: ScriptedThread, tmp_path: Any
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(f'unpriced = "reject"\n{MODELS}')
    with ProxyProcess(tmp_path, upstream.base_url, pricing_file=prices) as process:
        process.start()
        key = process.key()
        for members in ({"models": ["deer"]}, {"tools": [{**ADVISOR, "model": "deer"}]}):
            refused = post(process, key, MESSAGES, **members)
            assert (refused.status, error(refused)["code"]) == (400, "model_not_priced")
        refused = post(process, key, MESSAGES, fallbacks="default")
        assert (refused.status, error(refused)["code"]) == (400, "model_not_named")
        assert post(process, key, MESSAGES, fallbacks=[{"model": "dear"}]).status == 200


def test_passthrough_knows_its_limits_too(upstream: ScriptedThread, tmp_path: Any) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(f'{MODELS}\n[plans.default]\nallowed_models = ["cheap"]\n')
    with ProxyProcess(tmp_path, upstream.base_url, managed=False, pricing_file=prices) as process:
        process.start()
        refused = post(process, "sk-own", MESSAGES, fallbacks=[{"model": "dear"}])
        assert (refused.status, error(refused)["param"]) == (404, "fallbacks")
        assert post(process, "sk-own", MESSAGES, tools=[{"name": "model"}]).status == 200
