"""Usage that we asked for and the client did not: taken out again, byte for byte.

The option adds one more chunk (no choices, the usage) and a top-level ``"usage": null`` member to
all others (OpenAI's SDK documentation of ``stream_options``).
"""

import re

from proxy.wire import json_scan

_NULL_AFTER = re.compile(rb'\s*,\s*"usage"\s*:\s*null(?=\s*[,}])')
_FLAT_REST = re.compile(rb'\s*(?:,\s*"[^"\\]*"\s*:\s*(?:"[^"\\{}]*"|[\w.+-]+)\s*)*\}\s*')


def without_null_usage(frame: bytes) -> bytes:
    """Return the frame without the top-level ``"usage": null`` member of its JSON object."""
    if frame.endswith(b',"usage":null}\n\n'):
        return frame[:-16] + b"}\n\n"
    found = _NULL_AFTER.search(frame)
    # Only flat members and the last brace after it: the object it is in must be the outermost.
    if found is not None and _FLAT_REST.fullmatch(frame, found.end()):
        return frame[: found.start()] + frame[found.end() :]
    start = frame.find(b"{")
    end = frame.rfind(b"}") + 1
    text = frame[start:end]
    for name, _, value_at, stop in json_scan.members(text):
        if name == b"usage" and text[value_at:stop] == b"null":
            return frame[:start] + json_scan.without_member(text, b"usage") + frame[end:]
    return frame
