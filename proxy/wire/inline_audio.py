"""Audio that stands in JSON, as base64: how large it is and how long; none of it is kept.

Long audio is not decoded whole: of a file, beginning and end tell the length.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from proxy.wire.audio_length import length_us
from proxy.wire.multipart import HEAD_BYTES, TAIL_BYTES, Sample

_GROUP: Final = 4
"""So many digits are three bytes; base64 may be cut between groups."""
_HEAD_DIGITS: Final = -(-HEAD_BYTES // 3) * _GROUP
_TAIL_DIGITS: Final = -(-TAIL_BYTES // 3) * _GROUP
_PREFIX_MAX: Final = 200
"""``data:audio/wav;base64,`` is no longer, whatever parameters it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """How much audio an answer brought: its bytes, and its length where one file tells it."""

    size: int = 0
    length_us: int | None = None


class SpeechReader:
    """Measures the audio of one choice, in pieces or whole."""

    __slots__ = ("_digits", "_length_us", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._digits = 0
        self._length_us: int | None = None

    def piece(self, data: str) -> None:
        """Take a piece of a stream: base64 of its own, or a part of one that runs through it.

        Padding ends either; what runs on is a whole number of bytes only at its end.
        """
        padding = data.endswith("=") + data.endswith("==")
        self._digits += len(data) - padding
        if padding:
            self._size += _bytes_of(self._digits)
            self._digits = 0

    def whole(self, data: str) -> None:
        """Take all of it at once, so that its header can tell how long it is."""
        self.piece(data)
        sample = inline_sample(data)
        self._length_us = None if sample is None else length_us(sample)

    def speech(self) -> Speech:
        """Say what has come so far."""
        return Speech(size=self._size + _bytes_of(self._digits), length_us=self._length_us)


def inline_sample(data: str) -> Sample | None:
    """Sample a file that is written as base64, or as a ``data:`` URL of it; None if it is not."""
    if data.startswith("data:"):
        data = data[data.find(",", 0, _PREFIX_MAX) + 1 :]
    tail_at = (len(data) - _TAIL_DIGITS) // _GROUP * _GROUP
    try:
        # Of what is broken into lines no place can be reckoned.
        if tail_at <= _HEAD_DIGITS or "\n" in data:
            return Sample.of(base64.b64decode(data))
        head = base64.b64decode(data[:_HEAD_DIGITS])[:HEAD_BYTES]
        tail = base64.b64decode(data[tail_at:])[-TAIL_BYTES:]
    except (binascii.Error, ValueError):
        return None
    padding = data.endswith("=") + data.endswith("==")
    return Sample(head=head, tail=tail, size=_bytes_of(len(data) - padding))


def _bytes_of(digits: int) -> int:
    return digits * 3 // 4
