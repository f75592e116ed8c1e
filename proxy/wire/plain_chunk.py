"""The chunk that nearly all chunks are: one more piece of the first choice's text.

It is recognised, read and edited by its bytes: decoding each chunk as JSON would cost as much as
relaying it. What does not match exactly goes the general way.
"""

import re
from collections.abc import Callable
from typing import Final

# Whole members are not repeated possessively: before Python 3.11.5 that could miss a match.
_FLAT: Final = rb'"(?!error"|usage")[a-z_]++":(?:"[^"\\\r\n]*+"|[\d.]++|null|true|false)'
_UP_TO_TEXT: Final = rb"data: \{(?:" + _FLAT + rb',)*"choices":\[\{"index":0,"delta":\{"content":"'
_FROM_TEXT: Final = (
    rb'(?P<text>[^"\\\r\n]*+)"\},(?:"logprobs":null,)?"finish_reason":null\}\]'
    rb'(?P<usage>,"usage":null)?(?:,' + _FLAT + rb")*\}\n\n"
)
_REST: Final = re.compile(_FROM_TEXT)
PLAIN_CHUNK: Final = re.compile(_UP_TO_TEXT + _FROM_TEXT)
"""A whole frame. ``text`` is without escapes; ``usage`` the member that we asked for, if there.

Every other member is flat and is neither ``usage`` nor ``error``: nothing of interest is missed.
"""

_NOWHERE: Final = b"\n"
"""No plain chunk begins with it."""

MISSES_MAX: Final = 8
"""After so many other frames a stream is taken for one of another kind."""


class PlainChunks:
    """Relays the plain chunks of one stream, whose bytes before the text hardly ever change.

    Their texts are appended to what ``texts`` returns, of ``room`` bytes of frames at most;
    ``hide`` takes out the usage that we asked for.
    """

    __slots__ = ("_before", "_hide", "_keep", "_misses_left", "_room", "_start", "_texts")

    def __init__(self, texts: Callable[[], list[str | bytes]], *, hide: bool, room: int) -> None:
        self._texts = texts
        self._keep: Callable[[bytes], None] = list[bytes]().append
        self._hide = hide
        self._room = room
        self._misses_left = MISSES_MAX
        self._before = _NOWHERE
        self._start = 0

    def relay(self, data: bytes) -> bytes | None:
        """Return what may pass of what is just one plain chunk; None, and nothing, otherwise."""
        if data.startswith(self._before):
            match = _REST.fullmatch(data, self._start)
        else:
            match = self._learn(data)
        if match is None:
            return None
        self._room -= len(data)
        if self._room < 0:
            self._before, self._misses_left = _NOWHERE, 0
            return None
        self._keep(match[1])
        if self._hide:
            at, end = match.span(2)
            if at >= 0:
                return data[:at] + data[end:]
        return data

    def stop_hiding(self) -> None:
        """Let usage pass from now on."""
        self._hide = False

    def _learn(self, data: bytes) -> re.Match[bytes] | None:
        """Match the whole frame, and remember what is before its text."""
        if not self._misses_left:
            return None
        match = PLAIN_CHUNK.fullmatch(data)
        if match is None:
            self._misses_left -= 1
        else:
            self._keep = self._texts().append
            self._start = match.start(1)
            self._before = data[: self._start]
        return match
