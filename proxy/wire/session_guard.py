"""What managed mode refuses of a realtime client's messages: as :mod:`proxy.wire.guard` does.

Passthrough refuses nothing, and looks for the end alone. In managed mode every message must be
read, or it does not go up whole: one that can't be is refused. A session keeps its model (OpenAI:
``session.update`` changes all but ``model``), but names the one that transcribes its input, and a
caller may only name models that its plan has.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.errors import BadRequestError, ProxyError
from proxy.wire.guard import checked_message, refers
from proxy.wire.websocket_frames import BINARY, TEXT, FrameReader

_MARKS: Final = re.compile(rb'"(?:session|model|prompt|container|\w*_ids?)"|\\u00')
"""A message without any of these names no model and refers to nothing; most are sound alone."""
_AUDIO: Final = re.compile(
    rb'\A\s*\{\s*(?:"event_id"\s*:\s*"[\w-]*"\s*,\s*)?'
    rb'"type"\s*:\s*"input_audio_buffer\.append"\s*,\s*"audio"\s*:\s*"[A-Za-z0-9+/=]*"\s*\}\s*\Z'
)
_PROMPTED: Final = ("session", "response")


class SessionGuard:
    """Looks through what a client sends on a socket; ``admit`` raises for a model it may not use.

    The bytes that may go up are returned as they are.
    """

    def __init__(self, admit: Callable[[str], None]) -> None:
        self._frames = FrameReader(frozenset({TEXT, BINARY}))
        self._admit = admit

    @property
    def closing(self) -> int | None:
        """Where the client's close frame is among the bytes that it ended in; None: none came."""
        return self._frames.closing

    @property
    def held(self) -> int:
        """How many bytes are kept of a message that is not whole."""
        return self._frames.collected

    def feed(self, data: bytes) -> tuple[bytes, ProxyError | None]:
        """Take bytes; return those that may go up, and why no more may, if so."""
        for start, _, message, _ in self._frames.feed(data):
            try:
                self._check(message)
            except ProxyError as error:
                return data[:start], error
        if self._frames.lost:
            return b"", BadRequestError("What was sent are no WebSocket frames.")
        return data, None

    def _check(self, message: bytes | None) -> None:
        if message is None:
            raise BadRequestError(
                "A message on this socket can't be read: it is compressed, or too long. Send "
                "shorter ones, uncompressed."
            )
        if _AUDIO.match(message) or not _MARKS.search(message):
            return
        members = checked_message(message)
        for name in _PROMPTED:
            inner = members.get(name)
            if isinstance(inner, dict) and inner.get("prompt") is not None:
                raise refers(f"{name}.prompt")
        for model in _models(members):
            self._admit(model)


class Unguarded:
    """Lets all that a client sends go up, frames or not; nothing of it is kept.

    ``closing`` is as a guard's: where the close frame is among the last bytes, in which it ended.
    """

    held: Final = 0

    def __init__(self) -> None:
        self._frames = FrameReader(frozenset())
        self.closing: int | None = None

    def feed(self, data: bytes) -> tuple[bytes, None]:
        """Take bytes; return the same."""
        closed = self._frames.closing is not None
        self._frames.feed(data)
        self.closing = None if closed else self._frames.closing
        return data, None


def _models(members: dict[str, Any]) -> Iterator[str]:
    """Yield the models that a message names: a session's, an answer's, a transcription's."""
    for top in _PROMPTED:
        for path in (
            (top, "model"),
            (top, "input_audio_transcription", "model"),
            (top, "audio", "input", "transcription", "model"),
        ):
            value: Any = members
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str) and value:
                yield value
