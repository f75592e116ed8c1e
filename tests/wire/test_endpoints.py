"""The table of endpoints: found by path, and what completes an answer."""

import pytest

from proxy.wire.endpoints import (
    CHAT_COMPLETIONS,
    ENDPOINTS,
    MESSAGES,
    MODEL,
    RESPONSES,
    Metering,
    azure_deployment,
    endpoint_for,
    named_object,
)

NAMES = {endpoint.name: endpoint for endpoint in ENDPOINTS}


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: str(endpoint.name))
def test_each_row_is_found_by_its_path(endpoint: object) -> None:
    row = NAMES[endpoint.name]  # type: ignore[attr-defined]
    path = "/".join("x_1" if part.startswith("{") else part for part in row.path.split("/"))
    assert endpoint_for(row.method, path) is row
    assert endpoint_for(row.method, path + "/") is row
    assert endpoint_for(row.method, path + "?limit=2") is row


def test_rows_are_distinct() -> None:
    assert len(NAMES) == len(ENDPOINTS)
    assert len({(row.method, row.path) for row in ENDPOINTS}) == len(ENDPOINTS)


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/chat/completions", "chat.completions"),
        ("POST", "/v1/chat/completions/", "chat.completions"),
        ("HEAD", "/v1/models", "models"),
        ("HEAD", "/v1/models/?limit=2", "models"),
        ("HEAD", "/v1/models/gpt-4o", "models.get"),
        ("GET", "/v1/chat/completions", "chat.completions.list"),
        ("POST", "/v1/chat/completions/chatcmpl-1", "chat.completions.update"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=3", "responses.get"),
        ("POST", "/v1/responses/compact", "responses.compact"),
        ("POST", "/v1/responses/input_tokens", "responses.input_tokens"),
        ("POST", "/v1/threads/runs", "threads.create_and_run"),
        (
            "POST",
            "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            "chat.completions",
        ),
        ("POST", "/openai/deployments/my-gpt/embeddings", "embeddings"),
        ("POST", "/openai/v1/responses", "responses"),
        ("POST", "/openai/responses?api-version=preview", "responses"),
    ],
)
def test_paths_and_their_endpoints(method: str, path: str, name: str) -> None:
    assert endpoint_for(method, path) is NAMES[name]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/v1/chat/completions"),
        ("POST", "/v1/chat"),
        ("POST", "/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/chat/comple%74ions"),
        ("POST", "/v1/models/../chat/completions"),
        ("GET", "/v1/responses/.."),
        ("GET", "/v1/models//"),
        ("POST", "/openai/deployments/my-gpt"),
        ("GET", "/v1/files"),
        ("POST", "/"),
        ("POST", ""),
    ],
)
def test_what_is_in_no_row(method: str, path: str) -> None:
    assert endpoint_for(method, path) is None


def test_azure_deployment_stands_for_the_model() -> None:
    path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"
    assert azure_deployment(path) == "my-gpt"
    assert azure_deployment("/openai/deployments/") is None
    assert azure_deployment("/v1/chat/completions") is None


@pytest.mark.parametrize(
    ("name", "data", "event", "completes"),
    [
        ("chat.completions", b"[DONE]", b"", True),
        ("chat.completions", b'{"choices":[]}', b"", False),
        ("responses", b'{"type":"response.completed"}', b"response.completed", True),
        ("responses", b'{"type":"response.completed"}', b"", True),
        ("responses", b'{"type":"response.created"}', b"response.created", False),
        ("responses", b"[DONE]", b"", True),
        ("messages", b'{"type":"message_stop"}', b"message_stop", True),
        ("threads.runs", b"[DONE]", b"done", True),
        ("threads.runs", b"[DONE]", b"other", True),
        ("audio.transcriptions", b'{"type":"transcript.text.done"}', b"", True),
        ("audio.transcriptions", b'{"type":"x","text":"transcript.text.done"}', b"", False),
        ("audio.transcriptions", b'{"type":3,"text":"transcript.text.done"}', b"", False),
        ("audio.transcriptions", b'{"type":"transcript.text.delta"}', b"", False),
        ("audio.speech", b'{"type": "speech.audio.done"}', b"", True),
        ("images.generations", b'{"type":"image_generation.completed"}', b"", True),
        ("images.edits", b'{"type":"image_edit.completed"}', b"", True),
        ("embeddings", b"{}", b"", False),
    ],
)
def test_what_completes_an_answer(name: str, data: bytes, event: bytes, completes: bool) -> None:
    assert NAMES[name].completes(data, event) is completes


def test_usage_is_asked_for_only_where_the_option_is_known() -> None:
    assert {row.name for row in ENDPOINTS if row.injects} == {"chat.completions", "completions"}


def test_what_managed_mode_opens_is_metered_or_harmless() -> None:
    opened = {row.name for row in ENDPOINTS if row.managed}
    assert {"chat.completions", "models", "embeddings", "responses", "realtime"} <= opened
    assert not opened & {"batches", "batches.get", "threads.runs", "chat.completions.get"}
    for row in (CHAT_COMPLETIONS, RESPONSES, MESSAGES):
        assert row.guarded
    assert all(row.metering is Metering.NEVER for row in ENDPOINTS if row.name.endswith(".get"))


def test_what_names_an_object_of_managed_mode_is_guarded_by_whose_it_is() -> None:
    opened = [
        row for row in ENDPOINTS if row.managed and "{" in row.path and row.name != MODEL.name
    ]
    assert {row.path.split("/")[2] for row in opened} == {"responses"}
    assert all(row.objects and row.made_by is RESPONSES for row in opened)
    assert all(row.objects for row in ENDPOINTS if row.deferred)


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/v1/responses/resp_1", "resp_1"),
        ("POST", "/v1/responses/resp_1/cancel/", "resp_1"),
        ("GET", "/openai/responses/resp_1/input_items", "resp_1"),
        ("GET", "/v1/threads/thread_1/runs/run_1", "run_1"),
        ("POST", "/v1/threads/thread_1/runs/run_1/cancel", "run_1"),
        ("POST", "/v1/responses", ""),
    ],
)
def test_the_object_that_a_path_names(method: str, path: str, named: str) -> None:
    endpoint = endpoint_for(method, path)
    assert endpoint is not None
    assert named_object(endpoint, path) == named
