"""A client of raw sockets: what is sent is what is written, and nothing is read into it."""

import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

NOT_COMPARED = {
    b"connection",
    b"date",
    b"keep-alive",
    b"transfer-encoding",
    b"x-weighbridge-request-id",
}


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer; ``body`` is transfer-decoded, ``whole`` says whether its framing was fulfilled."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    whole: bool = True
    informational: list[int] = field(default_factory=list)

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def end_to_end(self) -> list[tuple[bytes, bytes]]:
        """The headers that are the upstream's word, in their order."""
        return [pair for pair in self.headers if pair[0].lower() not in NOT_COMPARED]


class Client:
    """One connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def peek(self) -> bytes:
        """Return what was read and not yet taken."""
        return self._buffer

    def more(self) -> bool:
        """Read a piece; False where there is no more, or the connection is broken."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Read up to ``mark``, and return it with what is before it."""
        while (at := self._buffer.find(mark)) < 0:
            if not self.more():
                raise EOFError(self._buffer)
        return self._take(at + len(mark))

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _exactly(self, size: int) -> bytes:
        pieces = [self._take(size)]
        size -= len(pieces[0])
        while size:
            if not self.more():
                raise EOFError(b"".join(pieces))
            pieces.append(self._take(size))
            size -= len(pieces[-1])
        return b"".join(pieces)

    def ended(self) -> bool:
        """Whether the other side closes without a byte more."""
        return not self._buffer and not self.more()

    def head(self) -> Answer:
        """Read the next head, informational ones too."""
        first, *lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        _, status, reason = first.split(b" ", 2)
        pairs = (line.partition(b":") for line in lines)
        headers = [(name, value.strip()) for name, _, value in pairs]
        return Answer(status=int(status), reason=reason, headers=headers)

    def answer(self, *, method: str = "GET") -> Answer:
        """Read an answer to its end."""
        informational = []
        while (answer := self.head()).status < 200:
            informational.append(answer.status)
        answer.informational = informational
        length = answer.header(b"content-length")
        chunked = (answer.header(b"transfer-encoding") or b"").lower() == b"chunked"
        if method == "HEAD" or answer.status in {204, 304}:
            return answer
        try:
            if chunked:
                self._chunks(answer)
            elif length is not None:
                answer.body = self._exactly(int(length))
            else:
                while self.more():
                    pass
                answer.body = self._take(len(self._buffer))
        except EOFError as error:
            answer.whole = False
            if not chunked:
                answer.body = error.args[0]
        return answer

    def _chunks(self, answer: Answer) -> None:
        pieces = []
        try:
            while size := int(self.until(b"\r\n"), 16):
                pieces.append(self._exactly(size))
                self.until(b"\r\n")
            self.until(b"\r\n")
        finally:
            answer.body = b"".join(pieces)


def request(
    target: str,
    *,
    method: str = "POST",
    key: str | None = None,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Write a request with its length; a JSON body unless its headers say otherwise."""
    given = {"Host": "api.example", **({"Authorization": f"Bearer {key}"} if key else {})}
    if body:
        given["Content-Type"] = "application/json"
    if body or method == "POST":
        given["Content-Length"] = str(len(body))
    given |= headers or {}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def ask(port: int, data: bytes) -> Answer:
    """Send one request on a connection of its own, and read its answer."""
    with Client(port) as client:
        client.send(data)
        return client.answer(method=data.partition(b" ")[0].decode())
