"""Several upstreams behind one proxy: each model to its own, with its own key."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.demo.scripted import Received
from tests.e2e.raw_http import Answer, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import UPSTREAM_KEY, ProxyProcess
from tests.web.answers import as_json, by_path, kept

CHAT = "/v1/chat/completions"
USAGE = {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
MESSAGE = {"usage": {"input_tokens": 4, "output_tokens": 1}}
AZURE_CHAT = "/openai/deployments/gpt-4o-eu/chat/completions"
KEYS = (UPSTREAM_KEY, "azure-secret", "anthropic-secret")


def listing(*names: str) -> bytes:
    return as_json({"object": "list", "data": [{"id": name} for name in names]})


@pytest.fixture(scope="module")
def default() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def azure() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def anthropic() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(
    default: ScriptedThread,
    azure: ScriptedThread,
    anthropic: ScriptedThread,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("several")
    table = folder / "upstreams.toml"
    table.write_text(f"""
        [[upstream]]
        name = "azure-eu"
        kind = "azure"
        base_url = "http://127.0.0.1:{azure.port}"
        api_version = "2024-10-21"
        api_key = "azure-secret"
        models = ["gpt-4o-eu", "o1-*"]

        [[upstream]]
        name = "anthropic"
        kind = "anthropic"
        base_url = "{anthropic.base_url}"
        api_key = "anthropic-secret"
        models = ["claude-*"]
        """)
    with ProxyProcess(folder, default.base_url, upstreams_file=table) as process:
        yield process.start()


@pytest.fixture(scope="module")
def secret(proxy: ProxyProcess) -> str:
    return proxy.key()


@pytest.fixture(autouse=True)
def _answers(default: ScriptedThread, azure: ScriptedThread, anthropic: ScriptedThread) -> None:
    default.answers(by_path({
        CHAT: as_json(USAGE),
        "/v1/models": listing("gpt-4o", "o1-mini", "claude-fake"),
        "/v1/models/gpt-4o": as_json({"id": "gpt-4o"}),
    }))  # fmt: skip
    azure.answers(by_path({
        AZURE_CHAT: as_json(USAGE),
        "/openai/responses": as_json(MESSAGE),
    }))  # fmt: skip
    anthropic.answers(by_path({
        "/v1/messages": as_json(MESSAGE),
        "/v1/models": listing("claude-5", "gpt-strange"),
        "/v1/models/claude-5": as_json({"id": "claude-5"}),
    }))  # fmt: skip


def send(proxy: ProxyProcess, key: str, path: str, model: str, **headers: str) -> Answer:
    body = json.dumps({"model": model}).encode()
    return ask(proxy.port, request(path, key=key, headers=headers, body=body))


def only(upstream: ScriptedThread) -> Received:
    (received,) = upstream.received
    return received


def test_a_model_of_no_pattern_goes_to_the_default(
    proxy: ProxyProcess, secret: str, default: ScriptedThread
) -> None:
    assert kept(proxy, send(proxy, secret, CHAT, "gpt-4o")).used.total() == 5
    assert only(default).header("authorization") == f"Bearer {UPSTREAM_KEY}"


def test_azure_has_its_paths_and_its_header(
    proxy: ProxyProcess, secret: str, azure: ScriptedThread
) -> None:
    answer = send(proxy, secret, f"{CHAT}?x=1&api_key={secret}", "gpt-4o-eu")
    assert kept(proxy, answer).used.total() == 5
    received = only(azure)
    assert received.target == f"{AZURE_CHAT}?x=1&api-version=2024-10-21"
    assert received.header("api-key") == "azure-secret"
    assert received.header("authorization") is None
    assert received.header("host") == f"127.0.0.1:{azure.port}"


def test_azure_has_responses_outside_of_its_deployments(
    proxy: ProxyProcess, secret: str, azure: ScriptedThread
) -> None:
    assert kept(proxy, send(proxy, secret, "/v1/responses", "o1-pro")).used.total() == 5
    assert only(azure).target == "/openai/responses?api-version=2024-10-21"


def test_azures_own_clients_may_name_deployments(
    proxy: ProxyProcess, secret: str, azure: ScriptedThread
) -> None:
    body = b'{"model":"gpt-4o"}'
    asked = request(f"{AZURE_CHAT}?api-version=2025-01-01", headers={"api-key": secret}, body=body)
    found = kept(proxy, ask(proxy.port, asked))
    assert found.row["model_requested"] == "gpt-4o-eu"
    assert only(azure).target == f"{AZURE_CHAT}?api-version=2025-01-01"
    assert only(azure).header("api-key") == "azure-secret"


@pytest.mark.parametrize(("sent", "version"), [({}, "2023-06-01"), ({"v": "x"}, "2099-01-01")])
def test_anthropic_has_its_headers(
    proxy: ProxyProcess,
    secret: str,
    anthropic: ScriptedThread,
    sent: dict[str, str],
    version: str,
) -> None:
    headers = {"anthropic-version": version} if sent else {}
    answer = send(proxy, secret, "/v1/messages", "claude-5", **headers)
    assert kept(proxy, answer).used.total() == 5
    assert only(anthropic).header("x-api-key") == "anthropic-secret"
    assert only(anthropic).header("anthropic-version") == version
    assert only(anthropic).header("authorization") is None


def test_models_are_listed_once_by_who_serves_them(proxy: ProxyProcess, secret: str) -> None:
    answer = ask(proxy.port, request("/v1/models", method="GET", key=secret))
    listed: dict[str, Any] = json.loads(answer.body)
    assert listed["object"] == "list"
    owners = {model["id"]: model["owned_by"] for model in listed["data"]}
    assert owners == {"gpt-4o": "default", "gpt-4o-eu": "azure-eu", "claude-5": "anthropic"}
    assert {model["object"] for model in listed["data"]} == {"model"}


def test_an_upstream_that_lists_nothing_only_lacks(
    proxy: ProxyProcess, secret: str, default: ScriptedThread, anthropic: ScriptedThread
) -> None:
    anthropic.answers(by_path({"/v1/models": as_json({"data": "odd"})}))
    answer = ask(proxy.port, request("/v1/models", method="GET", key=secret))
    assert [model["id"] for model in json.loads(answer.body)["data"]] == ["gpt-4o", "gpt-4o-eu"]
    default.answers(by_path({}))
    answer = ask(proxy.port, request("/v1/models", method="GET", key=secret))
    assert [model["id"] for model in json.loads(answer.body)["data"]] == ["gpt-4o-eu"]


def test_one_model_is_its_upstreams(
    proxy: ProxyProcess, secret: str, anthropic: ScriptedThread
) -> None:
    asked = request("/v1/models/claude-5", method="GET", key=secret)
    assert json.loads(ask(proxy.port, asked).body) == {"id": "claude-5"}
    assert only(anthropic).path == "/v1/models/claude-5"


def test_no_secret_is_in_the_log_or_an_answer(
    proxy: ProxyProcess, secret: str, azure: ScriptedThread
) -> None:
    azure.answers(by_path({}))
    answer = send(proxy, secret, CHAT, "gpt-4o-eu")
    assert answer.status == 404
    seen = proxy.log.encode() + answer.body + repr(answer.headers).encode()
    assert not [key for key in (*KEYS, secret) if key.encode() in seen]
