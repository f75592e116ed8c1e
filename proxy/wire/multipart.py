"""``multipart/form-data``, cut anywhere: small fields are kept, files are only sampled.

Sans-I/O and bounded: what a body of a gigabyte leaves here is a few small fields, and of one file
its beginning and its end. Source: RFC 7578, and RFC 2046, section 5.1.
"""

import re
from dataclasses import dataclass, field
from typing import Final

FIELD_BYTES_MAX: Final = 4096
"""How much of a field is kept: models, sizes and numbers are shorter."""
HEAD_BYTES: Final = 64 * 1024
TAIL_BYTES: Final = 1024 * 1024
"""How much of a sampled file is kept: what says how long it is stands at either end."""
PARTS_MAX: Final = 256
_PART_HEAD_BYTES_MAX: Final = 16 * 1024
_BOUNDARY_BYTES_MAX: Final = 70

_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"\\]+)"|([^\s;"]+))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([!#$%&\'*+.^_`|~\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]*)')
_PLAIN_ENCODINGS: Final = frozenset({b"", b"7bit", b"8bit", b"binary"})


def boundary_of(content_type: bytes) -> bytes | None:
    """Return what parts a body of this type; None if it is no form, or ambiguous about it."""
    if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
        return None
    found = _BOUNDARY.findall(content_type)
    if len(found) != 1:
        return None
    boundary: bytes = found[0][0] or found[0][1]
    return boundary if len(boundary) <= _BOUNDARY_BYTES_MAX else None


@dataclass(slots=True, kw_only=True)
class Sample:
    """A file as far as it is kept: its beginning, its end, and its size in bytes."""

    head: bytes = b""
    tail: bytes = b""
    size: int = 0

    @classmethod
    def of(cls, content: bytes) -> "Sample":
        """Sample content that is at hand."""
        return cls(head=content[:HEAD_BYTES], tail=content[-TAIL_BYTES:], size=len(content))


@dataclass(slots=True, kw_only=True)
class Part:
    """A part of a form: a field's ``value`` (bounded), or a file's ``sample`` if it was asked."""

    name: str
    filename: str | None = None
    size: int = 0
    value: bytes = b""
    sample: Sample | None = None
    _tail: list[bytes] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Take a piece of the part's content."""
        self.size += len(data)
        if self.filename is None and len(self.value) <= FIELD_BYTES_MAX:
            self.value += data[: FIELD_BYTES_MAX + 1 - len(self.value)]
        if self.sample is not None:
            missing = HEAD_BYTES - len(self.sample.head)
            if missing > 0:
                self.sample.head += data[:missing]
            self._tail.append(data[-TAIL_BYTES:])
            if sum(map(len, self._tail)) > 2 * TAIL_BYTES:
                self._tail = [b"".join(self._tail)[-TAIL_BYTES:]]

    def finish(self) -> None:
        """The part is whole."""
        if self.sample is not None:
            self.sample.tail = b"".join(self._tail)[-TAIL_BYTES:]
            self.sample.size = self.size
            self._tail.clear()


class MultipartReader:
    """Reads one form: ``feed`` and then ``finish``; nothing here raises, whatever is sent.

    ``flaw`` says what is wrong with the form, or what two parsers could read differently; None
    if it is well formed. The content of files named ``sampled`` is sampled.
    """

    def __init__(self, boundary: bytes, *, sampled: str = "") -> None:
        self._delimiter = b"\r\n--" + boundary
        self._sampled = sampled
        self._buffer = b"\r\n"
        self._step = self._preamble
        self._part: Part | None = None
        self.parts: list[Part] = []
        self.flaw: str | None = None

    def feed(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._buffer += data
        while self._step():
            pass

    def finish(self) -> None:
        """The body is over."""
        if self._step != self._epilogue:
            self._note("its last part is not closed")
            self._close()
        self._buffer = b""

    def fields(self, name: str) -> list[str]:
        """Return the values of the fields of this name; one that is not UTF-8 is ``""``."""
        return [_text(p.value) for p in self.parts if p.name == name and p.filename is None]

    def sample(self) -> Sample | None:
        """Return the sample of the first file that was to be sampled."""
        return next((part.sample for part in self.parts if part.sample is not None), None)

    # Steps: each takes what it can from the buffer, and says whether to go on.

    def _preamble(self) -> bool:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            self._keep_last(len(self._delimiter))
            return False
        if at > 0:
            self._note("it has text before its first part")
        self._buffer = self._buffer[at + len(self._delimiter) :]
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < len(b"--"):
            return False
        if self._buffer.startswith(b"--"):
            self._step = self._epilogue
            return True
        end = self._buffer.find(b"\r\n")
        if end < 0 and len(self._buffer) <= _PART_HEAD_BYTES_MAX:
            return False
        if end < 0 or self._buffer[:end].strip(b" \t"):
            return self._give_up("a boundary's line has more than the boundary")
        self._buffer = self._buffer[end:]
        self._step = self._part_head
        return True

    def _part_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _PART_HEAD_BYTES_MAX:
                return self._give_up("a part's head is too long")
            return False
        if len(self.parts) >= PARTS_MAX:
            return self._give_up(f"it has more than {PARTS_MAX} parts")
        self._part = self._begin(self._buffer[2:end])
        self._buffer = self._buffer[end + len(b"\r\n\r\n") :]
        self._step = self._content_start
        return True

    def _content_start(self) -> bool:
        bare = self._delimiter[2:]
        if len(self._buffer) < len(bare):
            return False
        if self._buffer.startswith(bare):  # some take the head's empty line for this one's
            self._note("a boundary stands where content should")
        self._step = self._content
        return True

    def _content(self) -> bool:
        at = self._buffer.find(self._delimiter)
        keep = len(self._delimiter) - 1
        end = at if at >= 0 else max(0, len(self._buffer) - keep)
        if self._part is not None and end:
            self._part.add(self._buffer[:end])
        if at < 0:
            self._buffer = self._buffer[end:]
            return False
        self._close()
        self._buffer = self._buffer[at + len(self._delimiter) :]
        self._step = self._after_delimiter
        return True

    def _epilogue(self) -> bool:
        if self._buffer.strip(b"-\r\n \t"):
            self._note("it has text after its last part")
        self._buffer = b""
        return False

    def _give_up(self, flaw: str) -> bool:
        self._note(flaw)
        self._step = self._epilogue
        self._buffer = b""
        return False

    def _keep_last(self, size: int) -> None:
        if len(self._buffer) > size:
            self._note("it has text before its first part")
            self._buffer = self._buffer[-size:]

    def _note(self, flaw: str) -> None:
        self.flaw = self.flaw or flaw

    def _close(self) -> None:
        if self._part is not None:
            self._part.finish()
            self.parts.append(self._part)
            self._part = None

    def _begin(self, head: bytes) -> Part:
        fields: dict[bytes, bytes] = {}
        for line in head.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            name = name.lower()
            if line and (not colon or name in fields or name != name.strip() or b"\n" in line):
                self._note("a part's head is malformed")
            fields[name] = value.strip()
        if fields.get(b"content-transfer-encoding", b"").lower() not in _PLAIN_ENCODINGS:
            self._note("a part is in a Content-Transfer-Encoding")
        return self._named(fields.get(b"content-disposition", b""))

    def _named(self, disposition: bytes) -> Part:
        pairs = _PARAMETER.findall(disposition)
        names = [name.lower() for name, _ in pairs]
        told = {name.lower(): value for name, value in pairs}
        name = told.get(b"name", b"")
        if names.count(b"name") != 1 or b"name*" in told or b"\\" in name or b"%" in name:
            self._note("a part's name is missing or ambiguous")
        filename = told.get(b"filename", told.get(b"filename*"))
        part = Part(
            name=_text(name.strip(b'"')),
            filename=None if filename is None else _text(filename.strip(b'"')),
        )
        if part.filename is not None and part.name == self._sampled:
            part.sample = Sample()
        return part


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""
