import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.matching import (
    MEMO_LIMIT,
    Matcher,
    clashes,
    glob_matches,
    globs_overlap,
    literal_length,
)
from proxy.core.prices import History, ModelPrices

patterns = st.text("ab*", max_size=7)
names = st.text("ab", max_size=7)


def model(name: str, *match: str) -> ModelPrices:
    return ModelPrices(name=name, match=match, history=History(versions=()))


def found(models: list[ModelPrices], name: str) -> tuple[str, str] | None:
    match = Matcher(models).find(name)
    return (match.model.name, match.by) if match else None


MODELS = [
    model("o1", "o1-2024-*", "OpenAI O1"),
    model("gpt-4o", "gpt-4o-*"),
    model("gpt-4o-mini", "gpt-4o-mini-*"),
    model("gpt-4o-2024-05-13"),
    model("fine", "ft:*:acme:*"),
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("o1", ("o1", "name")),
        ("OpenAI O1", ("o1", "alias")),
        ("o1-2024-12-17", ("o1", "glob")),
        ("gpt-4o-2024-08-06", ("gpt-4o", "glob")),
        ("gpt-4o-2024-05-13", ("gpt-4o-2024-05-13", "name")),
        ("gpt-4o-mini-2024-07-18", ("gpt-4o-mini", "glob")),
        ("ft:gpt-4o:acme:x", ("fine", "glob")),
        ("ft:gpt-4o:other:x", None),
        ("O1", None),
        ("o1-preview", None),
        ("", None),
    ],
)
def test_name_before_alias_before_longest_glob(name: str, expected: tuple[str, str] | None) -> None:
    assert found(MODELS, name) == expected


def test_none_matches_nothing() -> None:
    assert Matcher(MODELS).find(None) is None


def test_what_clients_send_does_not_pile_up() -> None:
    matcher = Matcher(MODELS)
    for index in range(MEMO_LIMIT + 10):
        assert matcher.find(f"o1-2024-{index}") is not None
    assert len(matcher._memo) <= MEMO_LIMIT
    assert matcher.find("o1") is matcher.find("o1")


@given(patterns, names)
def test_globs_match_as_regular_expressions_do(pattern: str, name: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert glob_matches(pattern, name) == bool(re.fullmatch(expression, name))


@given(patterns, patterns, names)
def test_globs_that_share_a_name_overlap(one: str, two: str, name: str) -> None:
    if glob_matches(one, name) and glob_matches(two, name):
        assert globs_overlap(one, two)


@given(patterns, patterns)
def test_globs_overlap_only_where_a_name_fits_both(one: str, two: str) -> None:
    # A shortest common name takes each literal of either glob once at most.
    longest = literal_length(one) + literal_length(two)
    words = ["".join(w) for n in range(longest + 1) for w in _words(n)] if longest <= 7 else None
    if words is not None:
        shared = any(glob_matches(one, w) and glob_matches(two, w) for w in words)
        assert globs_overlap(one, two) == shared == globs_overlap(two, one)


def _words(length: int) -> list[str]:
    return [format(n, f"0{length}b").replace("0", "a").replace("1", "b") if length else ""
            for n in range(2**length)]  # fmt: skip


@pytest.mark.parametrize(
    ("models", "reasons"),
    [
        (MODELS, []),
        ([model("a"), model("b", "a")], ["'a' is the name of an entry already"]),
        ([model("a", "x"), model("b", "x")], ["'x' already leads to 'a': a tie"]),
        ([model("a", "x", "x")], ["'x' already leads to 'a': a tie"]),
        ([model("a", "x-*1"), model("b", "x-1*")], ["'x-1*' ties with 'x-*1' of 'a'"]),
        ([model("a", "x-*1", "x-1*")], []),
        ([model("a", "x-*"), model("b", "y-*")], []),
        ([model("a", "x-*"), model("b", "x-y*")], []),
    ],
)
def test_clashes(models: list[ModelPrices], reasons: list[str]) -> None:
    told = [clash.reason for clash in clashes(models)]
    assert len(told) == len(reasons)
    assert all(t.startswith(r) for t, r in zip(told, reasons, strict=True))
