"""Usage that we asked for and the client did not: taken out again, byte for byte.

The option adds one more chunk (no choices, the usage) and a top-level ``"usage": null`` member to
all others (OpenAI's SDK documentation of ``stream_options``).
"""

import re

from proxy.wire import json_scan

_NULL = b',"usage":null'
_NULL_AFTER = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_DATA_LINE = re.compile(rb"(?:\A|(?<=[\r\n]))(?:\xef\xbb\xbf)?data:([^\r\n]*)")


def without_null_usage(frame: bytes) -> bytes:
    """Return the frame without the top-level ``"usage": null`` member of its JSON object."""
    at = frame.find(_NULL)
    if at >= 0 and _closes_outermost(frame, at + len(_NULL)):
        return frame[:at] + frame[at + len(_NULL) :]
    found = _NULL_AFTER.search(frame)
    if found is not None and _closes_outermost(frame, found.end()):
        return frame[: found.start()] + frame[found.end() :]
    lines = list(_DATA_LINE.finditer(frame))
    # Several lines are one text only once they are joined: they can't be edited in place.
    if len(lines) != 1:
        return frame
    start, end = lines[0].span(1)
    text = frame[start:end]
    for name, _, value_at, stop in json_scan.members(text):
        if name == b"usage" and text[value_at:stop] == b"null":
            return frame[:start] + json_scan.without_member(text, b"usage") + frame[end:]
    return frame


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
