"""Paths at upstreams that are not like OpenAI's."""

import pytest

from proxy.errors import BadRequestError
from proxy.wire.upstream_paths import azure_path, with_api_version


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
