"""Where each key of a TOML document stands: what ``tomllib`` does not tell.

The scanner reads text that ``tomllib`` has accepted, so it need not judge; it is run only when
there is something to report. A path is the keys and indices that lead to a value:
``("models", "o1", "versions", 0, "input")``.
"""

import re
import tomllib
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Position: TypeAlias = tuple[int, int]

START: Position = (1, 1)

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def positions(text: str) -> dict[Path, Position]:
    """Return the line and column (from 1) of every key and array element, by path."""
    try:
        offsets = _Scanner(text).scan()
    except RecursionError:
        return {}
    return {path: line_and_column(text, offset) for path, offset in offsets.items()}


def nearest(places: dict[Path, Position], path: Path) -> Position:
    """Return the position of a path, or of what holds it where it is not written itself."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, START)


def path_text(path: Path) -> str:
    """Write a path as one would write the key: ``models."gpt-4.1".versions[1].input``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            bare = _BARE_KEY.fullmatch(part)
            text += ("." if text else "") + (part if bare else f'"{part}"')
    return text


def line_and_column(text: str, offset: int) -> Position:
    """Return the line and column of an offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Scanner:
    """One pass over the text; ``at`` is the offset of what comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)
        return self.found

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        taken = match.group() if match else ""
        self.at += len(taken)
        return taken

    def ahead(self, mark: str) -> bool:
        return self.text.startswith(mark, self.at)

    def header(self) -> Path:
        """Read ``[a.b]`` or ``[[a.b]]``; the last element of an array is the one meant."""
        array = self.ahead("[[")
        self.at += 2 if array else 1
        path: Path = ()
        keys = self.keys()
        for key, offset in keys:
            path += (key,)
            self.found.setdefault(path, offset)
            if path in self.arrays and not (array and (key, offset) == keys[-1]):
                path += (self.arrays[path],)
        if array:
            index = self.arrays[path] = self.arrays.get(path, -1) + 1
            path += (index,)
        self.found[path] = keys[-1][1]
        self.at += 2 if array else 1
        return path

    def keys(self) -> list[tuple[str, int]]:
        """Read a dotted key: each part and its offset."""
        parts = []
        while True:
            self.skip(_SPACE)
            start = self.at
            quoted = self.skip(_STRING)
            key = tomllib.loads(f"_ = {quoted}")["_"] if quoted else self.skip(_BARE_KEY)
            parts.append((key, start))
            self.skip(_SPACE)
            if not self.ahead("."):
                return parts
            self.at += 1

    def pair(self, table: Path) -> None:
        path = table
        for key, offset in self.keys():
            path += (key,)
            self.found.setdefault(path, offset)
        self.at += 1  # the equals sign
        self.value(path)

    def value(self, path: Path) -> None:
        self.skip(_SPACE)
        if self.ahead("["):
            self.array(path)
        elif self.ahead("{"):
            self.inline_table(path)
        elif not self.skip(_STRING):
            self.skip(_SCALAR)

    def array(self, path: Path) -> None:
        self.at += 1
        index = 0
        self.skip(_BLANK)
        while not self.ahead("]"):
            self.found[(*path, index)] = self.at
            self.value((*path, index))
            self.skip(_BLANK)
            if self.ahead(","):
                self.at += 1
                self.skip(_BLANK)
            index += 1
        self.at += 1

    def inline_table(self, path: Path) -> None:
        self.at += 1
        self.skip(_BLANK)
        while not self.ahead("}"):
            self.pair(path)
            self.skip(_BLANK)
            if self.ahead(","):
                self.at += 1
                self.skip(_BLANK)
        self.at += 1
