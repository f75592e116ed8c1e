"""Server-sent events, cut anywhere (WHATWG HTML, section 9.2).

Frames keep their bytes: what is relayed is what came, comments, unknown fields and line ends
included. A frame ends with an empty line; lines end with LF, CRLF or CR.
"""

import re

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""The largest event that is read for usage: a whole response with images fits."""

# After LF, a CR is an empty line of its own unless an LF belongs to it: only the next byte tells.
_FRAME_END = re.compile(rb"\n(?:\r?\n|\r(?!\n|\Z))|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class FrameSplitter:
    """Cuts a stream into frames, and keeps the beginning of one that is not yet whole.

    A frame over :data:`MAX_FRAME_BYTES` comes out in pieces: relayed, but not understood.
    """

    __slots__ = ("_pieces", "_size", "_tail")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def between_frames(self) -> bool:
        """Whether nothing of a frame is kept: the next byte begins one."""
        return not self._pieces

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes, each with its terminating empty line."""
        frames: list[bytes] = []
        if self._pieces:
            end = _FRAME_END.search(self._tail + data)
            if end is None:
                return self._keep(data)
            at = end.end() - len(self._tail)
            frames.append(b"".join(self._pieces) + data[:at])
            self._pieces.clear()
            self._size = 0
            data = data[at:]
        elif 0 <= data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
            return [data]
        start = 0
        for end in _FRAME_END.finditer(data):
            frames.append(data[start : end.end()])
            start = end.end()
        if start < len(data):
            self._tail = b""
            frames += self._keep(data[start:])
        return frames

    def _keep(self, data: bytes) -> list[bytes]:
        self._pieces.append(data)
        self._size += len(data)
        self._tail = (self._tail + data)[-2:]
        return [self.flush()] if self._size > MAX_FRAME_BYTES else []

    def flush(self) -> bytes:
        """Return what was never completed, and forget it."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._tail = b""
        return rest


def payload(frame: bytes) -> tuple[bytes, bytes]:
    """Return the event's name and data of one frame; both are empty for comments."""
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2 and b"\r" not in frame:
        return b"", frame[6:-2]
    name = b""
    data = []
    for line in _LINE_END.split(frame.removeprefix(b"\xef\xbb\xbf")):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return name, b"\n".join(data)
