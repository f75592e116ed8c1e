"""Paths at upstreams that are not like OpenAI's."""

import pytest

from proxy.errors import BadRequestError
from proxy.wire.upstream_paths import (
    UpstreamKind,
    azure_path,
    local_location,
    with_api_version,
)

OPENAI, AZURE = UpstreamKind.OPENAI, UpstreamKind.AZURE


@pytest.mark.parametrize(
    ("base", "path", "model", "written"),
    [
        ("", "/chat/completions", "gpt-4o", "/openai/deployments/gpt-4o/chat/completions"),
        ("/openai", "/embeddings", "a/b c", "/openai/deployments/a%2Fb%20c/embeddings"),
        ("/eu", "/audio/speech", "tts", "/eu/openai/deployments/tts/audio/speech"),
        ("", "/responses", "gpt-5", "/openai/responses"),
        ("", "/models", "", "/openai/models"),
    ],
)
def test_azure(base: str, path: str, model: str, written: str) -> None:
    assert azure_path(base, path, model) == written


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_model_that_is_no_deployment(model: str) -> None:
    with pytest.raises(BadRequestError):
        azure_path("", "/chat/completions", model)


@pytest.mark.parametrize(
    ("query", "version", "written"),
    [
        ("", "2024-10-21", "api-version=2024-10-21"),
        ("a=b", "2024-10-21", "a=b&api-version=2024-10-21"),
        ("api-version=x", "2024-10-21", "api-version=x"),
        ("a=b", "", "a=b"),
    ],
)
def test_api_version(query: str, version: str, written: str) -> None:
    assert with_api_version(query, version) == written


@pytest.mark.parametrize(
    ("said", "base_path", "kind", "told"),
    [
        ("https://up.example/v1/models/", "/v1", OPENAI, "/v1/models/"),
        ("http://UP.example/v1/models/", "/v1", OPENAI, "/v1/models/"),
        ("https://up.example/models/", "", OPENAI, "/v1/models/"),
        ("/models/", "", OPENAI, "/v1/models/"),
        ("/openai/v1/models/", "/openai/v1", OPENAI, "/v1/models/"),
        ("https://up.example/openai/deployments/d/", "/v1", OPENAI, "/openai/deployments/d/"),
        ("https://up.example/openai/deployments/d/", "/openai", AZURE, "/openai/deployments/d/"),
        ("https://up.example/v1?x", "/v1", OPENAI, "/v1?x"),
        ("https://up.example.net/v1/models/", "/v1", OPENAI, None),
        ("https://up.example:1/v1/models/", "/v1", OPENAI, None),
        ("//up.example/v1/models/", "/v1", OPENAI, None),
        ("ftp://up.example/v1/models/", "/v1", OPENAI, None),
        ("https://up.example/v1beta/models", "/v1", OPENAI, None),
        ("https://up.example/v1", "/v1", OPENAI, None),
        ("models/", "/v1", OPENAI, None),
        ("", "/v1", OPENAI, None),
    ],
)
def test_a_location_is_written_as_clients_know_it(
    said: str, base_path: str, kind: UpstreamKind, told: str | None
) -> None:
    found = local_location(said.encode(), b"up.example", base_path, kind)
    assert found.decode() == (said if told is None else told)
