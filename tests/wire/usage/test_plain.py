"""The short way to OpenAI's usage finds what the general way finds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import Usage
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.usage import RequestShape, UsageReader, reader
from proxy.wire.usage.plain import plain_usage

counts = st.one_of(st.integers(-2, 40), st.sampled_from([None, "7", 2.0, 10**30]))
details = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens", "text_tokens"]),
        counts,
        max_size=3,
    ),
)
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "total_tokens": counts,
        "prompt_tokens_details": details,
        "completion_tokens_details": details,
        "cost": counts,
    },
)


def read(usage: object, extra: dict[str, object] | None = None) -> Usage | None:
    answer = {"model": "m", "service_tier": "flex", "usage": usage, **(extra or {})}
    usage_reader = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    usage_reader.json(json.dumps(answer).encode())
    return usage_reader.usage()


def read_the_long_way(usage: object) -> Usage | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "plain_usage", lambda *_: None)
        return read(usage)


@given(usage=usages)
def test_both_ways_lead_to_the_same(usage: object) -> None:
    assert read(usage) == read_the_long_way(usage)


@given(prompt=st.integers(0, 99), cached=st.integers(0, 99), made=st.integers(0, 99))
def test_consistent_counts_take_the_short_way(prompt: int, cached: int, made: int) -> None:
    usage = {
        "prompt_tokens": prompt + cached,
        "completion_tokens": made,
        "total_tokens": prompt + cached + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    assert plain_usage(json.dumps(usage).encode(), "m", "flex") == read_the_long_way(usage)


@pytest.mark.parametrize(
    "extra", [{"output": [{"type": "web_search_call"}]}, {"model": "gpt-4o-search-preview"}]
)
def test_what_was_used_beside_tokens_is_not_missed(extra: dict[str, object]) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "plain_usage", lambda *_: None)
        expected = read(usage, extra)
    assert read(usage, extra) == expected
