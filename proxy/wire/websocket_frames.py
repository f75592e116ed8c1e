"""WebSocket frames, read from bytes as they pass (RFC 6455, section 5): the bytes stay as they are.

What is collected are whole messages, and control frames where they are wanted. A message over the
bound, or compressed, is passed over unread; after bytes that are no frames nothing is read any
more. Nothing here raises.
"""

from typing import Final, NamedTuple

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
MESSAGE_BYTES_MAX: Final = 16 << 20
"""A longer message is relayed unread: what reports usage is far shorter."""

_CONTINUATION: Final = 0x0
_CONTROL: Final = 0x8
_OPCODES: Final = frozenset({_CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127
_CONTROL_BYTES_MAX: Final = 125
_LONGEST: Final = (1 << 63) - 1
_MASK_BYTES: Final = 4
_SHORTEST_HEAD: Final = 2
_LENGTH_SIZES: Final = {_LENGTH_16: 2, _LENGTH_64: 8}


class Message(NamedTuple):
    """A message that became whole with the bytes that were fed last.

    ``[start, end)`` is where its last frame is among them (from 0 on, if it began earlier):
    without those the receiver does not have it. ``data`` is None where it could not be read.
    ``kind`` is the opcode that it began with.
    """

    start: int
    end: int
    data: bytes | None
    kind: int = TEXT


class FrameReader:
    """Reads the frames of one direction; ``kinds`` are the opcodes of what to collect.

    ``unread`` counts messages of those kinds that were passed over, ``lost`` tells that what came
    were no frames. ``closing`` is where the close frame is among the bytes that it ended in.
    """

    __slots__ = (
        "_collecting", "_control", "_final", "_head", "_key", "_kind", "_kinds", "_left",
        "_longest", "_parts", "_size", "_turn", "closing", "lost", "unread",
    )  # fmt: skip

    def __init__(
        self, kinds: frozenset[int] = frozenset({TEXT}), longest: int = MESSAGE_BYTES_MAX
    ) -> None:
        self._kinds = kinds
        self._longest = longest
        self._head = bytearray()
        self._left = 0
        self._final = False
        self._key = b""
        self._turn = 0
        self._kind: int | None = None
        self._collecting = False
        self._parts: list[bytes] = []
        self._control = b""
        self._size = 0
        self.closing: int | None = None
        self.unread = 0
        self.lost = False

    @property
    def idle(self) -> bool:
        """Whether what came ends with a message, so that another one may come here."""
        return not self.lost and not self._head and self._kind is None

    @property
    def collected(self) -> int:
        """How many bytes are kept of a message that is not whole."""
        return self._size

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes; return the messages that they complete, in order."""
        found: list[Message] = []
        at = began = 0
        while not self.lost:
            if not self._left:
                at = self._take_head(data, at)
                if not self._begun:
                    break
            at = self._take_payload(data, at)
            if self._left:
                break
            message = self._end_frame(began, at)
            if message is not None:
                found.append(message)
            began = at
        return found

    @property
    def _begun(self) -> bool:
        """Whether a frame's head is whole, and makes sense."""
        return not self.lost and len(self._head) == _head_size(self._head)

    def _take_head(self, data: bytes, at: int) -> int:
        head = self._head
        while missing := _head_size(head) - len(head):
            piece = data[at : at + missing]
            if not piece:
                return at
            head += piece
            at += len(piece)
        self._begin_frame(head)
        return at

    def _begin_frame(self, head: bytearray) -> None:
        opcode = head[0] & 0x0F
        size = _LENGTH_SIZES.get(head[1] & _LENGTH, 0)
        length = int.from_bytes(head[2 : 2 + size]) if size else head[1] & _LENGTH
        self._final = bool(head[0] & _FIN)
        if opcode not in _OPCODES or length > _LONGEST:
            self._lose()
            return
        self._left = length
        self._key = bytes(head[-_MASK_BYTES:]) if head[1] & _MASKED else b""
        self._turn = 0
        if opcode >= _CONTROL:
            if not self._final or length > _CONTROL_BYTES_MAX:
                self._lose()
            return
        if (opcode == _CONTINUATION) == (self._kind is None):
            self._lose()
            return
        if self._kind is None:
            self._kind = opcode
            self._collecting = opcode in self._kinds
        if self._collecting and (head[0] & _RESERVED or self._size + length > self._longest):
            self._pass_over()

    def _pass_over(self) -> None:
        """Read no more of a message."""
        self._collecting = False
        self.unread += 1
        self._parts.clear()
        self._size = 0

    def _lose(self) -> None:
        """Read nothing any more."""
        self.lost = True
        self._left = self._size = 0
        self._parts.clear()

    def _take_payload(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._left -= len(piece)
        if not piece:
            return at
        opcode = self._head[0] & 0x0F
        if opcode >= _CONTROL:
            if opcode in self._kinds:
                self._control += self._unmasked(piece)
        elif self._collecting:
            self._size += len(piece)
            self._parts.append(self._unmasked(piece))
        return at + len(piece)

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._key:
            return piece
        key = self._key[self._turn :] + self._key[: self._turn]
        self._turn = (self._turn + len(piece)) % _MASK_BYTES
        return _masked(piece, key)

    def _end_frame(self, began: int, at: int) -> Message | None:
        opcode = self._head[0] & 0x0F
        control = opcode >= _CONTROL
        self._head.clear()
        if opcode == CLOSE and self.closing is None:
            self.closing = began
        if control:
            payload, self._control = self._control, b""
            return Message(began, at, payload, opcode) if opcode in self._kinds else None
        if not self._final:
            return None
        kind, self._kind = self._kind, None
        if kind is None or kind not in self._kinds:
            return None
        data = b"".join(self._parts) if self._collecting else None
        self._collecting = False
        self._parts.clear()
        self._size = 0
        return Message(began, at, data, kind)


def _head_size(head: bytearray) -> int:
    """Return how long a frame's head is, as far as is known."""
    if len(head) < _SHORTEST_HEAD:
        return _SHORTEST_HEAD
    masked = _MASK_BYTES if head[1] & _MASKED else 0
    return _SHORTEST_HEAD + _LENGTH_SIZES.get(head[1] & _LENGTH, 0) + masked


def write_frame(opcode: int, payload: bytes, key: bytes = b"") -> bytes:
    """Write a whole, final frame: a server's, or masked with the ``key`` (4 bytes) a client's."""
    size = len(payload)
    mask = 0
    if key:
        mask, payload = _MASKED, key + _masked(payload, key)
    if size < _LENGTH_16:
        return b"%c%c%b" % (_FIN | opcode, mask | size, payload)
    if size < 1 << 16:
        return b"%c%c%b%b" % (_FIN | opcode, mask | _LENGTH_16, size.to_bytes(2), payload)
    return b"%c%c%b%b" % (_FIN | opcode, mask | _LENGTH_64, size.to_bytes(8), payload)


def write_close(code: int, reason: str) -> bytes:
    """Write a close frame; the reason is cut to what a control frame may hold."""
    text = reason.encode()[: _CONTROL_BYTES_MAX - 2]
    return write_frame(CLOSE, code.to_bytes(2) + text.decode(errors="ignore").encode())


def _masked(data: bytes, key: bytes) -> bytes:
    """Mask, or undo it, all bytes at once: as numbers of that length."""
    size = len(data)
    mask = (key * (size // _MASK_BYTES + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(mask)).to_bytes(size)
