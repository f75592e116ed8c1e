"""The demonstration's requests: with the official ``openai`` SDK, or without it if need be."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.demo.behaviour import HEADER

open_directly = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
"""Opens addresses of this machine, where ``HTTP_PROXY`` names a proxy too: it is elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One request of the demonstration, and what it shows."""

    shows: str
    model: str
    script: str
    stream: bool = False
    tools: bool = False


EXAMPLES = (
    Example(shows="a plain answer", model="gpt-4o-mini", script="prompt=1200,completion=300"),
    Example(shows="a stream", model="gpt-4o", script="prompt=900,completion=450", stream=True),
    Example(shows="cached input", model="gpt-4o", script="prompt=5000,cached=4096,completion=120"),
    Example(
        shows="hidden reasoning", model="o1", script="prompt=800,completion=2600,reasoning=2400"
    ),
    Example(shows="a tool call", model="gpt-4o", script="pieces=5", stream=True, tools=True),
    Example(shows="no usage reported", model="gpt-4o-mini", script="no-usage", stream=True),
)
_MESSAGES = [{"role": "user", "content": "What does a weighbridge do?"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def run_examples(base_url: str, key: str) -> Iterator[tuple[Example, str]]:
    """Send each example; yield it with what came back, in a few words."""
    send = _sdk(base_url, key) or _Plain(base_url, key)
    for example in EXAMPLES:
        yield example, send(example)


def sdk_installed() -> bool:
    """Tell whether the official SDK is here."""
    return _sdk("http://127.0.0.1:1/v1", "none") is not None


def _sdk(base_url: str, key: str) -> Any:
    try:
        from openai import DefaultHttpxClient, OpenAI  # noqa: PLC0415 - the proxy needs no SDK
    except ImportError:
        return None
    client = OpenAI(base_url=base_url, api_key=key, http_client=DefaultHttpxClient(trust_env=False))
    create = client.chat.completions.create

    def send(example: Example) -> str:
        asked: dict[str, Any] = _body(example)
        answer = create(**asked, extra_headers={HEADER: example.script})
        return _text(
            (piece.choices[0].delta.content or "" for piece in answer if piece.choices)
            if example.stream
            else [answer.choices[0].message.content or ""]
        )

    return send


class _Plain:
    def __init__(self, base_url: str, key: str) -> None:
        self._url = f"{base_url}/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def __call__(self, example: Example) -> str:
        request = urllib.request.Request(  # noqa: S310 - always the proxy's own http address
            self._url,
            json.dumps(_body(example)).encode(),
            self._headers | {HEADER: example.script},
        )
        with open_directly(request) as answer:
            lines = [line.decode() for line in answer]
        if not example.stream:
            return _text([json.loads("".join(lines))["choices"][0]["message"]["content"]])
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        return _text(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


def _body(example: Example) -> dict[str, Any]:
    body = {"model": example.model, "messages": _MESSAGES, "stream": example.stream}
    return body | ({"tools": [_TOOL]} if example.tools else {})


def _text(pieces: Iterator[str] | Sequence[str]) -> str:
    return "".join(pieces) or "(a tool call)"
