"""The estimates against recorded traffic with its real usage."""

from pathlib import Path

import pytest

from proxy.tokens import estimate_input, estimate_output
from tests.bench.accuracy import (
    PROVIDERS,
    answer_of,
    by_class,
    chat_scores,
    model_of,
    records,
    summary,
)

# Class: exact inputs, 95th percentile, exact outputs, 95th percentile; all in percent.
HELD = {
    "plain": (97.5, 1.0, 96.0, 2.1),
    "tools": (94.0, 1.0, 93.0, 5.0),
    "images": (58.0, 120.0, 90.0, 9.6),
    "json_schema": (98.0, 0.7, 98.0, 0.0),
    "tools + schema": (97.0, 1.5, 94.0, 8.3),
    "all": (93.0, 1.0, 91.0, 5.0),
}
"""A remote picture's size is not in the request, and some recordings replaced the picture."""


@pytest.mark.xdist_group("recordings")
def test_chat_estimates_hold_on_recordings(corpus_path: Path) -> None:
    classes = by_class(chat_scores(corpus_path))
    for kind, (inputs, input_p95, outputs, output_p95) in HELD.items():
        counted = summary(score.input_percent for score in classes[kind])
        answered = summary(score.output_percent for score in classes[kind])
        assert counted.exact >= inputs, kind
        assert counted.p95 <= input_p95, kind
        assert answered.exact >= outputs, kind
        assert answered.p95 <= output_p95, kind


@pytest.mark.xdist_group("recordings")
@pytest.mark.parametrize(
    ("endpoint", "member", "share"),
    [
        ("embeddings", "prompt_tokens", 0.98),
        ("completions", "prompt_tokens", 0.95),
        ("responses", "input_tokens", 0.7),
    ],
)
def test_other_inputs_hold_on_recordings(
    corpus_path: Path, endpoint: str, member: str, share: float
) -> None:
    exact = [
        estimate_input(endpoint, record["request_body"], model_of(record)).tokens
        == record["usage"][member]
        for record in records(corpus_path)
        if record["endpoint"] == endpoint
        and record["provider"] in PROVIDERS
        and record["usage"].get(member) is not None
    ]
    assert sum(exact) >= share * len(exact) > 0


@pytest.mark.xdist_group("recordings")
def test_completions_outputs_hold_on_recordings(corpus_path: Path) -> None:
    exact = [
        estimate_output(
            "completions", record["request_body"], answer_of(record), model_of(record), "openai"
        ).tokens
        == record["usage"].get("completion_tokens")
        for record in records(corpus_path)
        if record["endpoint"] == "completions" and record["provider"] in PROVIDERS
    ]
    assert sum(exact) >= 0.9 * len(exact) > 0
