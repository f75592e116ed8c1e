"""A request of our own: its whole answer, bounded."""

import asyncio
from dataclasses import dataclass

from proxy.errors import UpstreamClosedError, UpstreamError
from proxy.http.upstream import UpstreamPool
from proxy.wire.headers import AnswerHead


@dataclass(slots=True, kw_only=True)
class Fetched:
    """An answer: its head, and its body without transfer coding."""

    head: AnswerHead
    body: bytes


class _Collector:
    """Takes an answer until it is whole, too large, or broken."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._head: AnswerHead | None = None
        self._pieces: list[bytes] = []
        self.done: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()

    def answer_head(self, head: AnswerHead) -> None:
        self._head = head

    def answer_data(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room >= 0:
            self._pieces.append(data)
        elif not self.done.done():
            self.done.set_exception(UpstreamClosedError("The upstream's answer is too large."))

    def answer_end(self) -> None:
        if not self.done.done() and self._head is not None:
            self.done.set_result(Fetched(head=self._head, body=b"".join(self._pieces)))

    def answer_failed(self, error: UpstreamError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def upstream_paused(self) -> None:
        """Its body went out at once."""

    def upstream_resumed(self) -> None:
        """Its body went out at once."""


async def fetch(
    pool: UpstreamPool, head: bytes, *, limit: int, timeout_s: float, body: bytes = b""
) -> Fetched:
    """Send a request (``head`` with its blank line) and return its answer.

    Errors: UpstreamError and OverloadedError as of :meth:`UpstreamPool.connect`, TimeoutError.
    """
    collector = _Collector(limit)
    async with asyncio.timeout(timeout_s):
        connection = pool.take() or await pool.connect()
        connection.send(head, body, collector, bodiless=False)
        try:
            return await collector.done
        except BaseException:
            connection.abort()
            raise
