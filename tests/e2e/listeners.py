"""Upstreams below HTTP: they take a connection, and then do as they like."""

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Listener:
    """``with`` it: the first connection is given to ``serve``, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serve = serve
        self._taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def _accept(self) -> None:
        connection = self._listener.accept()[0]
        self._taken.append(connection)
        self._serve(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        for connection in self._taken:
            connection.close()


def read_nothing(_: socket.socket) -> None:
    """Leave all that comes in the kernel's buffers."""


def answer_early(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer as soon as something of a request has come, and read on."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)
        while connection.recv(1 << 16):
            pass

    return serve
