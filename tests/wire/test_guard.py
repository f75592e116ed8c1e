"""Managed mode: nothing is stored upstream, and nothing stored there is referred to."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequestError
from proxy.wire.endpoints import ENDPOINTS, Endpoint
from proxy.wire.guard import guarded, refuse_references
from proxy.wire.request import read_facts

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def guard(endpoint: str, body: bytes) -> bytes:
    return guarded(BY_NAME[endpoint], read_facts(body, strict=True), body)


def refusal(endpoint: str, members: dict[str, Any] | bytes) -> BadRequestError:
    body = members if isinstance(members, bytes) else json.dumps(members).encode()
    with pytest.raises(BadRequestError) as caught:
        guard(endpoint, body)
    return caught.value


def user(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("endpoint", "members", "param"),
    [
        ("chat.completions", {"store": True}, "store"),
        ("chat.completions", {"store": "true"}, "store"),
        ("chat.completions", {"messages": user({"file": {"file_id": "file-1"}})}, "file_id"),
        ("chat.completions", {"messages": [{"audio": {"id": "audio_1"}}]}, "messages[].audio.id"),
        ("responses", {"store": True}, "store"),
        ("responses", {"store": 1}, "store"),
        ("responses", {"background": True, "conversation": "conv_1"}, "conversation"),
        ("responses", {"background": True, "previous_response_id": "resp_1"},
         "previous_response_id"),
        ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("responses", {"conversation": "conv_1"}, "conversation"),
        ("responses", {"conversation": {"id": "conv_1"}}, "conversation"),
        ("responses", {"prompt": {"id": "pmpt_1"}}, "prompt"),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[].id"),
        ("responses", {"input": [{"id": "msg_1"}]}, "input[].id"),
        ("responses", {"input": [{"type": None, "id": "msg_1"}]}, "input[].id"),
        ("responses", {"input": [{"type": "image_generation_call", "id": "ig_1"}]}, "input[].id"),
        ("responses", {"input": user({"type": "input_file", "file_id": "file-1"})}, "file_id"),
        ("responses", {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
         "tools[].container"),
        ("responses", {"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]},
         "file_ids"),
        ("responses", {"tools": [{"vector_store_ids": ["vs_1"]}]}, "vector_store_ids"),
        ("responses", {"tools": [{"environment": {"container_id": "cntr_1"}}]}, "container_id"),
        ("responses", {"some": {"new_id": "file-abc"}}, "new_id"),
        ("responses", {"some": {"new_ids": ["x", "vs_abc"]}}, "new_ids"),
        ("responses", {"input": [{"type": "tool_use", "input": {"file_id": "file-1"}}]}, "file_id"),
        ("responses", {"input": [{"type": ["odd"], "x": {"file_id": "file-1"}}]}, "file_id"),
        ("messages", {"messages": [{"type": ["odd"], "x": {"file_id": "file-1"}}]}, "file_id"),
        ("messages", {"container": "container_1"}, "container"),
        ("messages", {"messages": user({"source": {"type": "file", "file_id": "file_1"}})},
         "file_id"),
        ("images.edits", {"images": [{"file_id": "file-1"}]}, "file_id"),
        ("audio.speech", {"voice": {"id": "voice_1"}}, "voice.id"),
    ],
)  # fmt: skip
def test_refused(endpoint: str, members: dict[str, Any], param: str) -> None:
    error = refusal(endpoint, {"model": "m"} | members)
    assert (error.status, error.param) == (400, param)
    assert param in error.message
    assert "share one upstream account" in error.message


def test_names_hidden_by_escapes_are_found() -> None:
    assert refusal("chat.completions", b'{"messages":[{"\\u0066ile_id":"file-1"}]}').param
    assert refusal("responses", b'{"\\u0070revious_response_id":"resp_1"}').param
    assert refusal("responses", b'{"\\u0073tore":true}').param == "store"


def test_what_two_parsers_could_read_differently_is_refused() -> None:
    error = refusal("responses", b'{"input":[{"file_id":"file-1","file_id":null}]}')
    assert "'file_id' twice" in error.message
    deep = b'{"file_id":null,"input":' + b"[" * 300 + b"]" * 300 + b"}"
    assert "nested too deeply" in refusal("responses", deep).message
    deeper = b'{"file_id":null,"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(BadRequestError):
        guarded(BY_NAME["responses"], read_facts(b"{}", strict=True), deeper)
    with pytest.raises(BadRequestError):
        guarded(BY_NAME["responses"], read_facts(b"{}", strict=True), b'["file_id"]')
    with pytest.raises(BadRequestError):
        guarded(BY_NAME["responses"], read_facts(b"{}", strict=True), b'["file_id"')


@pytest.mark.parametrize(
    ("endpoint", "members"),
    [
        ("chat.completions", {"messages": user({"type": "text", "text": "a file_id"})}),
        ("chat.completions", {"store": False}),
        ("chat.completions", {"store": None}),
        ("chat.completions", {"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}),
        ("chat.completions", {"messages": [{"role": "tool", "tool_call_id": "call_1"}]}),
        ("chat.completions", {"messages": "file_id"}),
        ("chat.completions", {"metadata": {"file_id": "file-of-mine"}}),
        ("completions", {"prompt": "file_id"}),
        ("responses", {"store": False, "input": "hello"}),
        ("responses", {"store": False, "previous_response_id": None, "prompt": None}),
        ("responses", {"store": False, "input": [{"role": "assistant", "id": "msg_1"}, "odd"]}),
        ("responses", {"store": False, "input": [
            {"type": "image_generation_call", "id": "ig_1", "result": "iVBOR"}]}),
        ("responses", {"store": False, "input": [
            {"type": "function_call_output", "call_id": "call_1", "output": "{}"}]}),
        ("responses", {"store": False, "tools": [
            {"type": "code_interpreter", "container": {"type": "auto"}}, "odd"]}),
        ("responses", {"store": False, "tools": [
            {"type": "function", "parameters": {"properties": {"file_id": {"type": "string"}}}}]}),
        ("responses", {"store": False, "metadata": {"user_id": "file-1"}}),
        ("messages", {"messages": user(
            {"type": "tool_use", "id": "toolu_1", "input": {"file_id": "mine"}})}),
        ("messages", {"metadata": {"user_id": "u"}, "container": None}),
        ("images.generations", {"prompt": "a weighbridge"}),
        ("audio.speech", {"voice": "alloy", "input": "hello"}),
    ],
)  # fmt: skip
def test_let_through_as_it_is(endpoint: str, members: dict[str, Any]) -> None:
    body = json.dumps({"model": "m"} | members).encode()
    assert guard(endpoint, body) is body


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model":"m"}', b'{"model":"m","store":false}'),
        (b' {"model": "m" }\n', b' {"model": "m" ,"store":false}\n'),
        (b"{ }", b'{ "store":false}'),
        (b'{"store" : null ,"model":"m"}', b'{"store" : false ,"model":"m"}'),
    ],
)
def test_a_response_is_not_stored(body: bytes, sent: bytes) -> None:
    assert guard("responses", body) == sent


MEMBERS = st.dictionaries(
    st.text(max_size=9).filter(lambda name: not name.endswith(("_id", "_ids"))),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(MEMBERS)
def test_all_else_stays_byte_for_byte(members: dict[str, Any]) -> None:
    for name in ("store", "background", "conversation", "prompt", "voice", "model", "stream"):
        members.pop(name, None)
    body = json.dumps(members, ensure_ascii=False).encode()
    sent = guard("responses", body)
    assert json.loads(sent) == members | {"store": False}
    assert sent.startswith(body[:-1])


@pytest.mark.parametrize("more", [{}, {"store": True}, {"store": None}, {"store": False}])
def test_background_responses_are_stored_as_their_client_says(more: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "input": "Hi", "background": True, **more}).encode()
    assert guard("responses", body) is body


def test_forms_that_refer_are_refused() -> None:
    refuse_references([])
    with pytest.raises(BadRequestError, match="image_file_id"):
        refuse_references(["image_file_id"])


def endpoints_open() -> list[Endpoint]:
    return [endpoint for endpoint in ENDPOINTS if endpoint.managed and not endpoint.socket]


def test_every_open_endpoint_reads_or_is_stateless() -> None:
    assert {endpoint.name for endpoint in endpoints_open()} == {
        "audio.speech", "audio.transcriptions", "audio.translations", "chat.completions",
        "completions", "embeddings", "images.edits", "images.generations", "images.variations",
        "messages", "models", "models.get", "moderations", "responses", "responses.cancel",
        "responses.delete", "responses.get", "responses.input_items",
    }  # fmt: skip
