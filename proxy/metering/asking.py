"""Usage was asked for on the client's behalf, and the upstream refuses the question.

Some upstreams know no ``stream_options`` (Mistral: 422 ``extra_forbidden``; Azure's older API
versions: 400). Their refusal proves that nothing was processed, so the client's own request is
sent then, once; of the refusal the client sees nothing.
"""

from typing import Final, Protocol

from proxy.errors import UpstreamError
from proxy.http.upstream import AnswerSink, UpstreamConnection
from proxy.wire.decoding import decode_whole
from proxy.wire.headers import AnswerHead

_STATUSES: Final = frozenset({400, 422})
_MARKS: Final = (b"stream_options", b"include_usage")
_REFUSAL_BYTES_MAX: Final = 64 * 1024


class Asking(AnswerSink, Protocol):
    """Who gets the answer, unless it is such a refusal."""

    def refused_asking(self) -> None:
        """The upstream does not take the question: send the client's own request."""


class FirstWord:
    """Stands before the relay until the answer's head: only a refusal's body is kept here."""

    __slots__ = ("_connection", "_head", "_pieces", "_room", "_sink")

    def __init__(self, connection: UpstreamConnection, sink: Asking) -> None:
        self._connection = connection
        self._sink = sink
        self._head: AnswerHead | None = None
        self._pieces: list[bytes] = []
        self._room = _REFUSAL_BYTES_MAX

    def answer_head(self, head: AnswerHead) -> None:
        """Let any answer but a possible refusal go its way, from now on without us."""
        if head.status in _STATUSES:
            self._head = head
            return
        self._connection.hand_over(self._sink)
        self._sink.answer_head(head)

    def answer_data(self, data: bytes) -> None:
        """Keep a refusal's body; a long one is none."""
        self._pieces.append(data)
        self._room -= len(data)
        if self._room < 0:
            self._connection.hand_over(self._sink)
            self._pass_on()

    def answer_end(self) -> None:
        """Tell what it was."""
        if self._is_refusal():
            self._sink.refused_asking()
            return
        self._pass_on()
        self._sink.answer_end()

    def answer_failed(self, error: UpstreamError) -> None:
        """What came of it is what the client gets."""
        if self._head is not None:
            self._pass_on()
        self._sink.answer_failed(error)

    def upstream_paused(self) -> None:
        """Pass it on."""
        self._sink.upstream_paused()

    def upstream_resumed(self) -> None:
        """Pass it on."""
        self._sink.upstream_resumed()

    def _is_refusal(self) -> bool:
        if self._head is None:
            return False
        body = b"".join(self._pieces)
        encoding = self._head.fields.get(b"content-encoding", b"")
        body = decode_whole(body, encoding, _REFUSAL_BYTES_MAX) or body
        return any(mark in body for mark in _MARKS)

    def _pass_on(self) -> None:
        if self._head is None:
            return
        self._sink.answer_head(self._head)
        for data in self._pieces:
            self._sink.answer_data(data)
        self._pieces.clear()
