"""The chunk that nearly all chunks are: one more piece of the first choice's text.

It is recognised, read and edited by its bytes: decoding each chunk as JSON would cost as much as
relaying it. What does not match exactly goes the general way.
"""

import re
from typing import NamedTuple

# Whole members are not repeated possessively: before Python 3.11.5 that could miss a match.
_FLAT = rb'"(?!error"|usage")[a-z_]++":(?:"[^"\\]*+"|[\d.]++|null|true|false)'
_NULL_USAGE = b',"usage":null'
_REST = re.compile(rb"(?:," + _FLAT + rb")*\}\n\n")

PLAIN_CHUNK = re.compile(
    rb"data: \{(?:" + _FLAT + rb",)*"
    rb'"choices":\[\{"index":0,"delta":\{"content":"(?P<text>[^"\\]*+)"\},'
    rb'(?:"logprobs":null,)?"finish_reason":null\}\](?P<usage>' + _NULL_USAGE + rb")?"
    rb"(?:," + _FLAT + rb")*\}\n\n"
)
"""A whole frame. ``text`` is without escapes; ``usage`` the member that we asked for, if there.

Every other member is flat and is neither ``usage`` nor ``error``: nothing of interest is missed.
"""


class PlainChunk(NamedTuple):
    """A frame's text, and where its ``,"usage":null`` begins and ends (both -1: nowhere)."""

    text: bytes
    usage_at: int
    usage_end: int


class PlainChunks:
    """Recognises the plain chunks of one stream, whose bytes before the text hardly ever change."""

    __slots__ = ("_after", "_before", "_has_usage")

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._has_usage = False

    def read(self, frame: bytes) -> PlainChunk | None:
        """Return what a plain chunk says; None for any other frame."""
        before, after = self._before, self._after
        if before and frame.startswith(before):
            start = len(before)
            end = frame.find(b'"', start)
            rest_at = end + len(after)
            if frame.startswith(after, end) and _REST.fullmatch(frame, rest_at):
                text = frame[start:end]
                if b"\\" not in text:
                    if self._has_usage:
                        return PlainChunk(text, rest_at - len(_NULL_USAGE), rest_at)
                    return PlainChunk(text, -1, -1)
        return self._learn(frame)

    def _learn(self, frame: bytes) -> PlainChunk | None:
        """Match the whole frame, and remember what is around its text."""
        match = PLAIN_CHUNK.fullmatch(frame)
        if match is None:
            return None
        at, end = match.span("usage")
        self._has_usage = at >= 0
        self._before = frame[: match.start("text")]
        # Without the member, all up to the end of the choices stays the same.
        after_end = end if self._has_usage else frame.index(b"]", match.end("text")) + 1
        self._after = frame[match.end("text") : after_end]
        return PlainChunk(match["text"], at, end)
