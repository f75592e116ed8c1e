"""A request of our own: its whole answer, bounded, or piece by piece."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.errors import UpstreamClosedError, UpstreamError
from proxy.http.pool import UpstreamPool
from proxy.wire.headers import AnswerHead


@dataclass(slots=True, kw_only=True)
class Fetched:
    """An answer: its head, and its body without transfer coding."""

    head: AnswerHead
    body: bytes


class TooLargeError(UpstreamClosedError):
    """The answer has more bytes than are taken."""


Take = Callable[[bytes], None]


class _Taker:
    """Hands an answer on until it is whole, too large, or broken."""

    def __init__(self, begin: Callable[[AnswerHead], Take | None], limit: int) -> None:
        self._begin = begin
        self._room = limit
        self._head: AnswerHead | None = None
        self._take: Take | None = None
        self.done: asyncio.Future[AnswerHead] = asyncio.get_running_loop().create_future()

    def answer_head(self, head: AnswerHead) -> None:
        self._head = head
        self._take = self._begin(head)

    def answer_data(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            if not self.done.done():
                self.done.set_exception(TooLargeError("The upstream's answer is too large."))
        elif self._take is not None:
            self._take(data)

    def answer_end(self) -> None:
        if not self.done.done() and self._head is not None:
            self.done.set_result(self._head)

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

    Errors: UpstreamError and OverloadedError as of :meth:`UpstreamPool.connect`, TimeoutError,
    TooLargeError.
    """
    pieces: list[bytes] = []
    answer = await download(
        pool, head, lambda _: pieces.append, limit=limit, timeout_s=timeout_s, body=body
    )
    return Fetched(head=answer, body=b"".join(pieces))


async def download(
    pool: UpstreamPool,
    head: bytes,
    begin: Callable[[AnswerHead], Take | None],
    *,
    limit: int,
    timeout_s: float,
    body: bytes = b"",
) -> AnswerHead:
    """Send a request and hand its answer's body on: to what ``begin`` says, None: to nobody.

    Errors: those of :func:`fetch`; TooLargeError where it has over ``limit`` bytes.
    """
    taker = _Taker(begin, limit)
    async with asyncio.timeout(timeout_s):
        connection = pool.take() or await pool.connect()
        connection.send(head, body, taker, bodiless=False)
        try:
            return await taker.done
        except BaseException:
            connection.abort()
            raise
