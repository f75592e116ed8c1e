"""Usage that we asked for and the client did not: taken out again, byte for byte.

The option adds one more chunk (no choices, the usage) and a top-level ``"usage": null`` member to
all others (OpenAI's SDK documentation of ``stream_options``). Some servers write a member on
whatever chunk is the last: there the option moves it off the chunk with the finish reason, and it
is put back (:data:`FINGERPRINT` of vLLM, :data:`TIMINGS` of llama.cpp).
"""

import re
from collections.abc import Sequence
from typing import Final

from proxy.wire import json_scan

_NULL = b',"usage":null'
_NULL_AFTER = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_DATA_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))(?:\xef\xbb\xbf)?data:([^\r\n]*)")

_FINISHES: Final = re.compile(rb'"finish_reason"\s*:\s*"')
_NOTHING_MOVES: Final = re.compile(rb'"system_fingerprint"\s*:\s*(?:"fp_|null)')

FINGERPRINT: Final = b"system_fingerprint"
"""On vLLM every chunk with a finish reason has it, or else the usage chunk alone."""

TIMINGS: Final = b"timings"
"""On llama.cpp the last chunk has them, whichever that is."""


def without_null_usage(frame: bytes) -> bytes:
    """Return the frame without the top-level ``"usage": null`` member of its JSON object."""
    at = frame.find(_NULL)
    if at >= 0 and _closes_outermost(frame, at + len(_NULL)):
        return frame[:at] + frame[at + len(_NULL) :]
    found = _NULL_AFTER.search(frame)
    if found is not None and _closes_outermost(frame, found.end()):
        return frame[: found.start()] + frame[found.end() :]
    start, end = _text_of(frame)
    text = frame[start:end]
    for name, _, value_at, stop in json_scan.members(text):
        if name == b"usage" and text[value_at:stop] == b"null":
            return frame[:start] + json_scan.without_member(text, b"usage") + frame[end:]
    return frame


def may_lack_moved(frame: bytes) -> bool:
    """Tell whether a chunk gives a finish reason, and may lack what the usage chunk has instead.

    OpenAI writes its own fingerprint (``fp_``, or null) on every chunk, as do those that follow
    it closely: there nothing moves, and nothing has to wait. llama.cpp's is the build's name.
    """
    return _FINISHES.search(frame) is not None and _NOTHING_MOVES.search(frame) is None


def with_moved(frames: Sequence[bytes], usage_chunk: bytes, *, fingerprint: bool) -> list[bytes]:
    """Return the finish chunks ``frames``, the stream's last, with what the option moved off them.

    ``usage_chunk`` is the data of the chunk that follows them. ``fingerprint``: it may have moved,
    for no chunk before had it.
    """
    if not frames or b"\n" in usage_chunk:  # a line end would tear the frame
        return list(frames)
    found = list(frames)
    if fingerprint:
        found = [_with_member(frame, usage_chunk, FINGERPRINT) for frame in found]
    found[-1] = _with_member(found[-1], usage_chunk, TIMINGS)
    return found


def _with_member(frame: bytes, other: bytes, name: bytes) -> bytes:
    """Return the frame with the member ``name`` of ``other``, at the place that it has there."""
    start, end = _text_of(frame)
    text = frame[start:end]
    ends = {found: stop for found, _, _, stop in json_scan.members(text)}
    if not ends or name in ends:
        return frame
    at = piece_at = -1
    for found, name_at, value_at, stop in json_scan.members(other):
        if found == name:
            if other[value_at:stop] == b"null":
                return frame
            if at < 0:  # nothing that the two have in common comes before it
                at, piece = text.index(b"{") + 1, other[name_at:stop] + b","
            else:
                piece = other[piece_at:stop]
            return frame[: start + at] + piece + frame[start + at :]
        at, piece_at = ends.get(found, at), stop
    return frame


def _text_of(frame: bytes) -> tuple[int, int]:
    """Return where the frame's JSON is; nowhere if it is in several lines.

    They are one text only once they are joined: they can't be edited in place.
    """
    lines = list(_DATA_LINE.finditer(frame))
    return lines[0].span(1) if len(lines) == 1 else (0, 0)


def _closes_outermost(frame: bytes, at: int) -> bool:
    """Whether one brace is all that still closes: the object before it must be the outermost.

    Cheap, and wrong only to the safe side: braces in a later text make it False.
    """
    return (
        frame[at : at + 1] in {b",", b"}"}
        and frame.count(b"}", at) == 1
        and frame.find(b"{", at) < 0
        and b"data:" not in frame[at:]
    )
