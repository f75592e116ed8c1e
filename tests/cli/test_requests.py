"""``weighbridge requests show``: all that the ledger knows of a request."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.cli.commands import run
from proxy.core.ids import RequestIds, to_text
from proxy.demo.scripted import steps
from tests.e2e.raw_http import ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import as_json

USAGE = {
    "prompt_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 20},
    "completion_tokens": 9,
    "completion_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 59,
}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedThread]:
    with ScriptedThread() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(
    scripted: ScriptedThread, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("shown")
    with ProxyProcess(folder, scripted.base_url) as process:
        yield process.start()


@pytest.fixture
def database(proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROXY_DATABASE_URL", f"sqlite:///{proxy.database}")
    return proxy.database


def crossed(proxy: ProxyProcess, scripted: ScriptedThread, answer: bytes) -> str:
    scripted.answers(steps(answer))
    body = b'{"model":"gpt-5","messages":[]}'
    sent = request("/v1/chat/completions", key=proxy.key(), body=body)
    return (ask(proxy.port, sent).header(b"x-weighbridge-request-id") or b"").decode()


@pytest.mark.usefixtures("database")
def test_as_json(
    proxy: ProxyProcess, scripted: ScriptedThread, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"model": "gpt-5-2025-08-07", "service_tier": "flex", "choices": [], "usage": USAGE}
    number = crossed(proxy, scripted, as_json(answer))
    assert run(["requests", "show", number, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    events = shown.pop("events")
    for name in ("opened_at", "settled_at"):
        assert shown.pop(name).endswith("Z")
    assert shown.pop("key").startswith("wb-")
    assert shown == {
        "id": number,
        "state": "exact",
        "customer": "acme",
        "subscription": "acme",
        "plan": "default",
        "endpoint": "chat.completions",
        "stream": False,
        "attempt": 0,
        "body_bytes": 31,
        "model_requested": "gpt-5",
        "model": "gpt-5-2025-08-07",
        "service_tier": "flex",
        "context_class": None,
        "upstream_status": 200,
        "reasoning_tokens": 4,
        "object": None,
        "notes": [],
        "raw_usage": USAGE,
    }
    assert [(e["transaction_id"], e["metric"], e["type"], e["quantity"]) for e in events] == [
        (f"{number}.0", "requests", "exact", 1),
        (f"{number}.1", "tokens", "input", 30),
        (f"{number}.2", "tokens", "cached_input", 20),
        (f"{number}.3", "tokens", "output", 9),
    ]
    assert {e["service_tier"] for e in events} == {"flex"}


@pytest.mark.usefixtures("database")
def test_for_people(
    proxy: ProxyProcess, scripted: ScriptedThread, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {"model": "gpt-5-2025-08-07", "choices": [], "usage": USAGE}
    number = crossed(proxy, scripted, as_json(answer))
    assert run(["requests", "show", number]) == 0
    shown = capsys.readouterr().out
    for text in (
        number,
        "exact",
        "acme (customer acme, plan default)",
        "gpt-5-2025-08-07 (asked for gpt-5)",
        '"cached_tokens":20' if '"cached_tokens":20' in shown else '"cached_tokens": 20',
        "cached_input",
        "4 tokens",
    ):
        assert text in shown


@pytest.mark.usefixtures("database")
def test_one_that_is_deferred(
    proxy: ProxyProcess, scripted: ScriptedThread, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.answers(steps(as_json({"id": "resp_1", "status": "queued", "model": "gpt-5"})))
    body = b'{"model":"gpt-5","input":"Hi","background":true}'
    sent = request("/v1/responses", key=proxy.key(), body=body)
    number = (ask(proxy.port, sent).header(b"x-weighbridge-request-id") or b"").decode()
    assert run(["requests", "show", number]) == 0
    shown = capsys.readouterr().out
    assert "deferred" in shown
    assert "resp_1" in shown
    assert "not yet" in shown
    assert run(["requests", "show", number, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["object"] == "resp_1"


@pytest.mark.usefixtures("database")
def test_one_that_failed(
    proxy: ProxyProcess, scripted: ScriptedThread, capsys: pytest.CaptureFixture[str]
) -> None:
    number = crossed(proxy, scripted, as_json({"error": {"message": "no"}}, 400))
    assert run(["requests", "show", number]) == 0
    shown = capsys.readouterr().out
    assert "status 400" in shown
    assert "none was reported" in shown


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("number", ["wb_nonsense", to_text(RequestIds(1).make(1_700_000_000_000))])
def test_none(number: str) -> None:
    from proxy.errors import ProxyError  # noqa: PLC0415 - what main() tells

    with pytest.raises(ProxyError, match="request"):
        run(["requests", "show", number])
