"""Where the top-level members of a JSON object are, in its bytes.

Used where bytes must be edited without being re-written, and where duplicate members matter:
parsers hide both. Expects valid JSON (a parser has accepted it); never raises on other bytes.
"""

import re
from collections.abc import Iterator

# Possessive, and content with a quote that nothing closes: linear in time, constant in memory, on
# any bytes (a group repeated for each character of a long prompt takes a hundred bytes for each).
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\],:]', re.DOTALL)
_SPACE = b" \t\r\n"
_ESCAPED_LETTER = re.compile(rb"\\u00[5-7]")


def members(text: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (raw name, where the name begins, where the value begins, where it ends)."""
    depth = 0
    name: bytes | None = None
    name_at = value_at = 0
    expects_name = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        at = match.start()
        if token in b"{[":
            depth += 1
            expects_name = depth == 1 and token == b"{"
        elif token in b"}]":
            depth -= 1
            if depth == 0:
                if name is not None:
                    yield name, name_at, value_at, _trim(text, at)
                return
        elif depth == 1:
            if token == b"," and name is not None:
                yield name, name_at, value_at, _trim(text, at)
                name, expects_name = None, True
            elif token == b":":
                if value_at == 0:
                    value_at = _skip(text, at + 1)
            elif expects_name:
                name, name_at, value_at, expects_name = token[1:-1], at, 0, False


def may_hide_names(text: bytes) -> bool:
    """Whether a name may be written with escapes: of letters, which nothing needs to escape."""
    # One byte is found many at a time; rfind takes half the time of ``in``: it needs no table.
    if text.find(b"\\") < 0:
        return False
    return text.rfind(b"\\u00") >= 0 and _ESCAPED_LETTER.search(text) is not None


def without_member(text: bytes, name: bytes) -> bytes:
    """Return ``text`` without the top-level member ``name``, all other bytes as they were."""
    for found, name_at, _, end in members(text):
        if found != name:
            continue
        before = _trim(text, name_at)
        if text[before - 1 : before] == b",":
            return text[: before - 1] + text[end:]
        after = _skip(text, end)
        if text[after : after + 1] == b",":
            after = _skip(text, after + 1)
        return text[:name_at] + text[after:]
    return text


def _skip(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _trim(text: bytes, at: int) -> int:
    while at > 0 and text[at - 1] in _SPACE:
        at -= 1
    return at
