"""What the tests of what is deferred ask, and look at."""

import json
from typing import Any

from openai import OpenAI

from tests.e2e.raw_http import Answer, ask, request
from tests.proxy_process import ProxyProcess, until

RESPONSES = "/v1/responses"
CLIENT_KEY = "sk-a-client-of-passthrough-with-a-long-secret"


def client(proxy: ProxyProcess, key: str) -> OpenAI:
    return OpenAI(base_url=proxy.base_url, api_key=key, max_retries=0)


def post(proxy: ProxyProcess, key: str, path: str = RESPONSES, **members: Any) -> Answer:
    if path == RESPONSES:
        members = {"model": "gpt-4o", "input": "Hi", "background": True, **members}
    return ask(proxy.port, request(path, key=key, body=json.dumps(members).encode()))


def call(proxy: ProxyProcess, key: str, target: str, method: str = "GET") -> Answer:
    return ask(proxy.port, request(target, method=method, key=key))


def state(proxy: ProxyProcess, endpoint: str = "responses") -> list[str]:
    """The states of the requests of an endpoint, oldest first."""
    return [row["state"] for row in proxy.requests() if row["endpoint"] == endpoint]


def wait_for(proxy: ProxyProcess, *states: str, endpoint: str = "responses") -> None:
    until(lambda: state(proxy, endpoint) == list(states))


def made_by(proxy: ProxyProcess, endpoint: str = "responses") -> dict[str, Any]:
    """The one request of an endpoint, as its row has it."""
    (row,) = [row for row in proxy.requests() if row["endpoint"] == endpoint]
    return row
