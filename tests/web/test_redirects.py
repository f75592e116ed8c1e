"""Where an upstream sends its clients, they stay with the proxy."""

import pytest

from proxy.demo.scripted import Ending, steps, whole
from tests.e2e.conftest import StartProxy
from tests.e2e.raw_http import ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import kept

BODY = b'{"model":"gpt-4o","messages":[]}'


def location(
    scripted: ScriptedThread, proxy: ProxyProcess, key: str, answered: tuple[int, str]
) -> str:
    """Return where a client is sent, if its upstream says that."""
    status, said = answered
    scripted.answers(steps(whole(status, b"", (("Location", said),)), Ending.CLOSE))
    answer = ask(proxy.port, request("/v1/chat/completions", key=key, body=BODY))
    assert answer.status == status
    assert kept(proxy, answer).row["upstream_status"] == status
    return (answer.header(b"location") or b"").decode()


@pytest.mark.parametrize("status", [201, 301, 302, 307, 308])
def test_a_redirect_to_the_upstream_is_to_the_proxy(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, status: int
) -> None:
    there = f"{scripted.base_url}/chat/completions/?a=b"
    assert location(scripted, managed, key, (status, there)) == "/v1/chat/completions/?a=b"


def test_other_answers_and_places_are_left_alone(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    for answered in (
        (200, f"{scripted.base_url}/models/"),
        (307, "https://login.example/v1/models/"),
        (307, f"http://127.0.0.1:{scripted.port}/health"),
        (307, "/v1/models/"),
        (307, "models/"),
    ):
        assert location(scripted, managed, key, answered) == answered[1]


def test_a_base_path_of_the_upstreams_own_is_none_of_the_clients(
    scripted: ScriptedThread, start_proxy: StartProxy
) -> None:
    origin = f"http://127.0.0.1:{scripted.port}"
    proxy = start_proxy(f"{origin}/api/v2")
    key = proxy.key()
    for said in (f"{origin}/api/v2/models/", "/api/v2/models/"):
        assert location(scripted, proxy, key, (307, said)) == "/v1/models/"
    assert location(scripted, proxy, key, (307, "/api/v21/models")) == "/api/v21/models"
