"""The completing event is withheld until the settlement is durable; what is before it is not."""

import json
from pathlib import Path

import pytest

from proxy.demo.behaviour import HEADER
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import Client, request
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

PROGRAM = ("-m", "tests.e2e.crashing_proxy", "hold")
QUIET_S = 0.3


def chat(key: str, *, stream: bool, script: str = "") -> bytes:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    return request(
        "/v1/chat/completions",
        key=key,
        headers={HEADER: script},
        body=json.dumps(body).encode(),
    )


def read_while_it_comes(client: Client) -> bytes:
    """Read until nothing more comes for a while."""
    client.socket.settimeout(QUIET_S)
    try:
        while client.more():
            pass
    except TimeoutError:
        client.socket.settimeout(30)
    return client.peek()


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", ["", "no-compress,no-usage"])
def test_it_waits_for_the_commit(
    openai_like: UpstreamProcess,
    tmp_path: Path,
    start_proxy: StartProxy,
    point: str,
    stream: bool,
    script: str,
) -> None:
    sign = tmp_path / "held"
    program = (*PROGRAM, f"measured/{point}", str(sign))
    proxy = start_proxy(openai_like.base_url, program=program)
    with Client(proxy.port) as client:
        client.send(chat(proxy.key(), stream=stream, script=script))
        until(sign.exists)
        came = read_while_it_comes(client)
        if stream:
            assert b" crosses" in came
            assert b"finish_reason" in came
            assert b"[DONE]" not in came
        else:
            assert came == b""
        assert settled(proxy) == (point == "after_commit")
        sign.unlink()
        answer = client.answer()
        assert answer.whole
        assert settled(proxy)
    assert (b"[DONE]" in answer.body) == stream


def settled(proxy: ProxyProcess) -> bool:
    return [row["state"] in {"exact", "estimated"} for row in proxy.requests()] == [True]
