"""What goes up on a connection to the upstream is exactly the request that is served."""

import json
import time

import pytest

from proxy.demo.scripted import Received, Reply
from tests.e2e.raw_http import Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import as_json

H2C = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAA"}
OCTETS = {"Content-Type": "application/octet-stream"}
OTHERS = request("/v1/files/others", method="DELETE", key="sk-a")


async def say_path(received: Received, reply: Reply) -> None:
    await reply.send(as_json({"path": received.path}))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_unwanted_upgrade_smuggles_nothing(
    scripted: ScriptedThread, passthrough: ProxyProcess, *, chunked: bool
) -> None:
    scripted.answers(say_path)
    upload = request("/v1/files", key="sk-a", headers=H2C | OCTETS, body=b"hi")
    if chunked:
        upload = upload.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked")
        upload = upload.removesuffix(b"hi") + b"2\r\nhi\r\n0\r\n\r\n"
    with Client(passthrough.port) as client:
        client.send(upload + OTHERS)
        assert json.loads(client.answer().body) == {"path": "/v1/files"}
        # It is the client's own next request, authenticated and counted as such.
        assert json.loads(client.answer().body) == {"path": "/v1/files/others"}
    for _ in range(3):
        answer = ask(passthrough.port, request("/v1/models", method="GET", key="sk-b"))
        assert json.loads(answer.body) == {"path": "/v1/models"}
    targets = [(r.target, r.body) for r in scripted.received]
    assert targets == [
        ("/v1/files", b"hi"),
        ("/v1/files/others", b""),
        *[("/v1/models", b"")] * 3,
    ]


def test_a_body_may_follow_an_unwanted_upgrade_later(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(say_path)
    body = b'{"model":"gpt-4o","messages":[]}'
    sent = request("/v1/chat/completions", key=key, headers=H2C, body=body)
    with Client(managed.port) as client:
        for _ in range(2):
            client.send(sent.removesuffix(body))
            time.sleep(0.05)
            client.send(body)
            assert client.answer().status == 200
    assert [r.body for r in scripted.received] == [body, body]
    assert scripted.received[0].header("upgrade") is None
    assert scripted.received[0].header("http2-settings") is None


def test_a_socket_that_is_none_takes_nothing_up(
    scripted: ScriptedThread, passthrough: ProxyProcess
) -> None:
    scripted.answers(say_path)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    asked = request("/v1/models", method="GET", key="sk-a", headers=headers)
    answer = ask(passthrough.port, asked + OTHERS)
    assert json.loads(answer.body) == {"path": "/v1/models"}
    assert answer.header(b"connection") == b"close"
    assert [r.target for r in scripted.received] == ["/v1/models"]
