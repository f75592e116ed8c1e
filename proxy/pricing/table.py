"""Reading TOML tables with care: every value is checked, every problem is kept with its path.

Readers return None (or the default) for what is wrong and go on, so that an operator sees all
problems of an edit at once.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.pricing.positions import Path, nearest, path_text, positions

PLACES_MAX = 12
"""Decimal places that a price or factor may have."""

_SHOWN_MAX = 40

MAX_PROBLEMS = 50
"""Problems told at once; a file that is wrong throughout needs no more."""


class Problems:
    """What is wrong with a document, in the order found."""

    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []

    def add(self, path: Path, reason: str) -> None:
        """Keep a problem with the value at a path."""
        self.found.append((path, reason))

    def message(self, text: str, source: str) -> str:
        """Return a line for each problem: ``file:line:column: key: reason``."""
        places = positions(text)
        located = sorted(
            (nearest(places, path), f"{path_text(path)}: {reason}" if path else reason)
            for path, reason in self.found
        )
        told = [f"{source}:{line}:{column}: {what}" for (line, column), what in located]
        more = len(told) - MAX_PROBLEMS
        return "\n".join(told[:MAX_PROBLEMS] + ([f"… and {more} more"] if more > 0 else []))


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the document, read key by key."""

    values: dict[str, Any]
    path: Path
    problems: Problems

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def refuse(self, key: str, reason: str) -> None:
        """Keep a problem with the value of a key."""
        self.problems.add((*self.path, key), reason)

    def only(self, known: Collection[str], hint: str = "") -> None:
        """Refuse every key that is not known, and name the one that was probably meant."""
        for key in self.values:
            if key not in known:
                self.refuse(key, f"unknown key{did_you_mean(key, known) or hint}")

    def decimal(
        self, key: str, *, low: Decimal, high: Decimal, above: bool = False
    ) -> Decimal | None:
        """Read a decimal in ``[low, high]``, or in ``(low, high]`` where ``above``."""
        if key not in self.values:
            return None
        value, reason = as_decimal(self.values[key])
        if value is not None and (value < low or (above and value == low)):
            least = "more than" if above else "at least"
            negative = "must not be negative" if low == 0 else f"must be {least} {low}"
            reason = f"must be more than {low}, not {value}" if above else f"{negative}: {value}"
        elif value is not None and value > high:
            reason = f"is absurd: {value} (at most {high})"
        if reason is None:
            return value
        self.refuse(key, reason)
        return None

    def integer(self, key: str, *, low: int, high: int) -> int | None:
        """Read a whole number in ``[low, high]``."""
        if key not in self.values:
            return None
        value = self.values[key]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.refuse(key, f"must be a whole number from {low:_} to {high:_}, not {_shown(value)}")
        return None

    def choice(self, key: str, options: Collection[str]) -> str | None:
        """Read one of a few words."""
        if key not in self.values:
            return None
        value = self.values[key]
        if isinstance(value, str) and value in options:
            return value
        words = ", ".join(f'"{option}"' for option in options)
        guess = did_you_mean(value, options) if isinstance(value, str) else ""
        self.refuse(key, f"must be one of {words}, not {_shown(value)}{guess}")
        return None

    def text(self, key: str) -> str | None:
        """Read a text that is not empty."""
        if key not in self.values:
            return None
        value = self.values[key]
        if isinstance(value, str) and value.strip():
            return value
        self.refuse(key, f"must be a text in quotes, not {_shown(value)}")
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Read a list of texts that are not empty."""
        if key not in self.values:
            return None
        value = self.values[key]
        if not isinstance(value, list):
            self.refuse(key, f'must be a list of texts such as ["a", "b-*"], not {_shown(value)}')
            return None
        for index, item in enumerate(value):
            if not (isinstance(item, str) and item.strip()):
                reason = f"must be a text in quotes, not {_shown(item)}"
                self.problems.add((*self.path, key, index), reason)
        return tuple(item for item in value if isinstance(item, str) and item.strip())

    def table(self, key: str) -> "Table | None":
        """Read a table."""
        if key not in self.values:
            return None
        value = self.values[key]
        if isinstance(value, dict):
            return Table(value, (*self.path, key), self.problems)
        self.refuse(key, f"must be a table, not {_shown(value)}")
        return None

    def tables(self, key: str, *, single: bool = False) -> "list[Table]":
        """Read an array of tables; where ``single``, one table alone is fine as well."""
        value = self.values.get(key, [])
        if single and isinstance(value, dict):
            return [Table(value, (*self.path, key), self.problems)]
        if isinstance(value, list) and all(isinstance(item, dict) for item in value):
            return [
                Table(item, (*self.path, key, index), self.problems)
                for index, item in enumerate(value)
            ]
        self.refuse(key, f"must be a list of tables, not {_shown(value)}")
        return []

    def named_tables(self, key: str) -> "Iterator[tuple[str, Table]]":
        """Read a table of tables: each name and its table."""
        outer = self.table(key)
        for name in outer.values if outer else ():
            inner = outer.table(name) if outer else None
            if inner is not None:
                yield name, inner


def as_decimal(value: object) -> tuple[Decimal | None, str | None]:
    """Return a TOML number as a decimal, or why it is none."""
    if isinstance(value, str):
        hint = " (without quotes)" if value.replace(".", "", 1).isdigit() else ""
        return None, f"must be a number, not {_shown(value)}{hint}"
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None, f"must be a number, not {_shown(value)}"
    number = Decimal(value)
    if not number.is_finite():
        return None, f"must be a finite number, not {number}"
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PLACES_MAX:
        return None, f"has more than {PLACES_MAX} decimal places: {_shown(value)}"
    return number, None


def did_you_mean(word: str, known: Collection[str], likeness: float = 0.6) -> str:
    """Return ``": did you mean 'input'?"`` where a known word looks like this one, else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for refusals, and slow to import

    close = get_close_matches(word, [str(option) for option in known], 1, likeness)
    return f": did you mean {close[0]!r}?" if close else ""


def _shown(value: object) -> str:
    """Write a value as in the file, short."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            shown = repr(value)
        case dict():
            return "a table"
        case list():
            return "a list"
        case int() if abs(value) >= 10**30:
            return "a number of more than 30 digits"
        case _:
            shown = str(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
