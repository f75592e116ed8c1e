"""Which entry of the price book a model's name means.

Exact name before exact alias before the glob with the longest literal part. Dates are never
stripped from names: snapshots of a model may be priced differently.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from proxy.core.prices import ModelPrices

WILDCARD = "*"
MEMO_LIMIT = 4096
"""Names remembered: they come from clients, so they must not pile up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An entry, and what led to it: ``by`` is ``name``, ``alias`` or ``glob``."""

    model: ModelPrices
    by: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """A pattern that can't be told apart: the entry, the index of its pattern, and why."""

    model: str
    index: int
    reason: str


class Matcher:
    """Finds entries by name, and remembers what it found."""

    def __init__(self, models: Iterable[ModelPrices]) -> None:
        self._exact: dict[str, Match] = {}
        globs: list[Match] = []
        models = tuple(models)
        for model in models:
            for pattern in model.match:
                match = Match(model=model, by="alias", pattern=pattern)
                if WILDCARD in pattern:
                    globs.append(Match(model=model, by="glob", pattern=pattern))
                else:
                    self._exact[pattern] = match
        for model in models:
            self._exact[model.name] = Match(model=model, by="name", pattern=model.name)
        self._globs = sorted(globs, key=lambda glob: -literal_length(glob.pattern))
        self._memo: dict[str, Match | None] = {}

    def find(self, name: str | None) -> Match | None:
        """Return the entry that a name means, if any."""
        if not name:
            return None
        try:
            return self._memo[name]
        except KeyError:
            found = self._exact.get(name) or next(
                (glob for glob in self._globs if glob_matches(glob.pattern, name)), None
            )
            if len(self._memo) >= MEMO_LIMIT:
                self._memo.clear()
            self._memo[name] = found
            return found


def literal_length(pattern: str) -> int:
    """Count the characters of a glob that are not ``*``."""
    return len(pattern) - pattern.count(WILDCARD)


def glob_matches(pattern: str, name: str) -> bool:
    """Tell whether a name fits a glob; ``*`` is any text, everything else is itself."""
    head, *rest = pattern.split(WILDCARD)
    if not rest:
        return name == pattern
    *middle, tail = rest
    if len(name) < len(head) + len(tail) or not (name.startswith(head) and name.endswith(tail)):
        return False
    at, end = len(head), len(name) - len(tail)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def clashes(models: Iterable[ModelPrices]) -> Iterator[Clash]:
    """Yield every alias and glob that would leave a name between two entries.

    An alias that is also an entry's name, or another entry's alias; two globs of different
    entries, with equally long literals, that some name fits both.
    """
    models = tuple(models)
    names = {model.name for model in models}
    owners: dict[str, str] = {}
    globs: list[tuple[str, int, str]] = []
    for model in models:
        for index, pattern in enumerate(model.match):
            if pattern in names:
                reason = f"{pattern!r} is the name of an entry already, which comes first"
                yield Clash(model=model.name, index=index, reason=reason)
            elif pattern in owners:
                reason = f"{pattern!r} already leads to {owners[pattern]!r}: a tie"
                yield Clash(model=model.name, index=index, reason=reason)
            else:
                owners[pattern] = model.name
                if WILDCARD in pattern:
                    globs.append((model.name, index, pattern))
    for (one, _, first), (two, index, second) in combinations(globs, 2):
        tied = one != two and literal_length(first) == literal_length(second)
        if tied and globs_overlap(first, second):
            reason = f"{second!r} ties with {first!r} of {one!r}: some name fits both"
            yield Clash(model=two, index=index, reason=reason)


def globs_overlap(first: str, second: str) -> bool:
    """Tell whether some name fits both globs."""
    heads = first.partition(WILDCARD)[0], second.partition(WILDCARD)[0]
    shared = min(map(len, heads))
    if heads[0][:shared] != heads[1][:shared]:
        return False
    reachable = {(0, 0)}
    frontier = [(0, 0)]
    while frontier:
        at = frontier.pop()
        if at == (len(first), len(second)):
            return True
        for step in _steps(first, second, *at):
            if step not in reachable:
                reachable.add(step)
                frontier.append(step)
    return False


def _steps(first: str, second: str, i: int, j: int) -> Iterator[tuple[int, int]]:
    """Yield where both globs may stand after a next character, or after a star took none."""
    one = first[i] if i < len(first) else ""
    two = second[j] if j < len(second) else ""
    if one == WILDCARD:
        yield i + 1, j
        if two:
            yield i, j + 1
    if two == WILDCARD:
        yield i, j + 1
        if one:
            yield i + 1, j
    if one and one == two:
        yield i + 1, j + 1
