"""An upstream that keeps account of what it did, and does all that upstreams do."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any, cast

from proxy.errors import UpstreamClosedError, UpstreamTimedOutError, UpstreamUnreachableError
from proxy.http.pool import UpstreamPool
from proxy.http.upstream import AnswerSink
from proxy.wire.headers import AnswerHead

KINDS = {
    "usage": 10,
    "no usage": 3,
    "error": 2,
    "stream error": 1,
    "closed before": 1,
    "closed within": 2,
    "closed after usage": 1,
    "silent": 1,
    "slow": 2,
    "long": 1,
    "refuses asking": 2,
}
SILENCE_S = 60.0


@dataclass(slots=True, kw_only=True)
class Truth:
    """One request as the upstream knows it.

    ``reported``: it sent its usage; ``begun``: a 2xx answer began; ``ended``: how far it came.
    """

    request_id: int
    kind: str
    prompt: int
    cached: int
    completion: int
    reported: bool = False
    ended: str = "running"
    begun: bool = False
    asked: bool = False

    @property
    def tokens(self) -> dict[str, int]:
        pairs = {
            "input": self.prompt - self.cached,
            "cached_input": self.cached,
            "output": self.completion,
        }
        return {kind: count for kind, count in pairs.items() if count}


@dataclass(slots=True)
class Account:
    """All truths; each entry is one time that the upstream was asked."""

    truths: list[Truth] = field(default_factory=list)

    def of(self, request_id: int) -> list[Truth]:
        return [truth for truth in self.truths if truth.request_id == request_id]


class SimulatedPool:
    """:class:`proxy.http.pool.UpstreamPool` of one worker."""

    def __init__(self, account: Account, dice: random.Random) -> None:
        self.account = account
        self.dice = dice
        self.in_use: dict[SimulatedConnection, None] = {}
        self._idle: list[SimulatedConnection] = []

    def take(self) -> "SimulatedConnection | None":
        return self._idle.pop() if self._idle else None

    async def connect(self) -> "SimulatedConnection":
        await asyncio.sleep(self.dice.choice((0.0, 0.01, 0.5)))
        chance = self.dice.random()
        if chance < 0.03:
            raise UpstreamUnreachableError("no route")
        if chance < 0.05:
            raise UpstreamTimedOutError("no answer")
        return SimulatedConnection(self)

    def put(self, connection: "SimulatedConnection") -> None:
        self.in_use.pop(connection, None)
        self._idle.append(connection)

    def as_pool(self) -> UpstreamPool:
        return cast("UpstreamPool", self)

    def die(self) -> None:
        for connection in list(self.in_use):
            connection.abort()


class SimulatedConnection:
    """:class:`proxy.http.upstream.UpstreamConnection`, and who answers at its other end."""

    def __init__(self, pool: SimulatedPool) -> None:
        self._pool = pool
        self._sink: AnswerSink | None = None
        self._task: asyncio.Task[None] | None = None
        self._truth: Truth | None = None
        self._going = asyncio.Event()
        self._going.set()

    def send(self, head: bytes, body: bytes | None, sink: AnswerSink, *, bodiless: bool) -> None:
        assert body is not None
        assert not bodiless
        asked: dict[str, Any] = json.loads(body)
        self._sink = sink
        self._pool.in_use[self] = None
        dice = self._pool.dice
        prompt = dice.randrange(1, 60)
        self._truth = Truth(
            request_id=int(head),
            kind=asked["kind"],
            prompt=prompt,
            cached=dice.randrange(prompt) if dice.random() < 0.3 else 0,
            completion=dice.randrange(61),
            asked="stream_options" in asked,
        )
        self._pool.account.truths.append(self._truth)
        self._task = asyncio.get_running_loop().create_task(self._answer(asked, self._truth))

    def hand_over(self, sink: AnswerSink) -> None:
        self._sink = sink

    def pause_reading(self) -> None:
        self._going.clear()

    def resume_reading(self) -> None:
        self._going.set()

    def abort(self) -> None:
        self._sink = None
        self._pool.in_use.pop(self, None)
        if self._truth is not None and self._truth.ended == "running":
            self._truth.ended = "cut"
        if self._task is not None:
            self._task.cancel()

    close = abort

    async def _pause(self, truth: Truth) -> None:
        steps = (0.0, 0.0, 0.01, 0.2) if truth.kind != "slow" else (0.5, 3.0)
        await asyncio.sleep(self._pool.dice.choice(steps))
        await self._going.wait()

    async def _answer(self, asked: dict[str, Any], truth: Truth) -> None:
        await self._pause(truth)
        if truth.kind == "silent":
            await asyncio.sleep(SILENCE_S)
            self._fail(truth, UpstreamTimedOutError("silent"))
        elif truth.kind == "closed before":
            self._fail(truth, UpstreamClosedError("closed"))
        elif truth.kind == "error":
            truth.ended = "error"
            await self._whole(500, {"error": {"message": "no", "type": "server_error"}}, truth)
        elif truth.kind == "refuses asking" and truth.asked:
            truth.ended = "refused"
            await self._whole(400, {"error": {"message": "unknown: stream_options"}}, truth)
        elif asked["stream"]:
            await self._stream(asked, truth)
        else:
            await self._plain(truth)

    async def _plain(self, truth: Truth) -> None:
        if truth.kind in {"closed within", "closed after usage", "stream error"}:
            self._head(b"application/json", 1000)
            self._give(b'{"choices":[{"message":{"content":"x')
            self._fail(truth, UpstreamClosedError("closed"))
            return
        answer: dict[str, Any] = {"model": "gpt-4o", "choices": [{"message": {"content": "x y"}}]}
        if truth.kind != "no usage":
            answer["usage"] = _usage(truth)
            truth.reported = True
        truth.ended = "whole"
        await self._whole(200, answer, truth)

    async def _whole(self, status: int, answer: dict[str, Any], truth: Truth) -> None:
        text = json.dumps(answer).encode()
        self._head(b"application/json", len(text), status)
        cut = self._pool.dice.randrange(len(text))
        self._give(text[:cut])
        await self._pause(truth)
        self._give(text[cut:])
        self._end()

    async def _stream(self, asked: dict[str, Any], truth: Truth) -> None:
        self._head(b"text/event-stream", None)
        count = 200 if truth.kind == "long" else self._pool.dice.randrange(1, 6)
        for n in range(count):
            await self._pause(truth)
            if truth.kind == "closed within" and n == count - 1:
                self._fail(truth, UpstreamClosedError("closed"))
                return
            self._event({"model": "gpt-4o", "choices": [{"delta": {"content": "x"}}]})
        if truth.kind == "stream error":
            truth.ended = "error within"
            self._event({"error": {"message": "no", "type": "server_error"}})
            self._end()
            return
        options = asked.get("stream_options") or {}
        if options.get("include_usage") and truth.kind != "no usage":
            self._event({"model": "gpt-4o", "choices": [], "usage": _usage(truth)})
            truth.reported = True
        if truth.kind == "closed after usage":
            self._fail(truth, UpstreamClosedError("closed"))
            return
        await self._pause(truth)
        truth.ended = "whole"
        self._give(b"data: [DONE]\n\n")
        await self._pause(truth)
        self._end()

    def _head(self, kind: bytes, length: int | None, status: int = 200) -> None:
        fields = {b"content-type": kind}
        if length is not None:
            fields[b"content-length"] = b"%d" % length
        if self._truth is not None:
            self._truth.begun = status < 300
        if self._sink is not None:
            self._sink.answer_head(
                AnswerHead(status=status, reason=b"", headers=list(fields.items()), fields=fields)
            )

    def _event(self, value: dict[str, Any]) -> None:
        self._give(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _give(self, data: bytes) -> None:
        if self._sink is not None and data:
            self._sink.answer_data(data)

    def _end(self) -> None:
        sink, self._sink = self._sink, None
        self._pool.put(self)
        if sink is not None:
            sink.answer_end()

    def _fail(self, truth: Truth, error: UpstreamClosedError | UpstreamTimedOutError) -> None:
        truth.ended = "silent" if isinstance(error, UpstreamTimedOutError) else "broken"
        self._pool.in_use.pop(self, None)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.answer_failed(error)


def _usage(truth: Truth) -> dict[str, Any]:
    return {
        "prompt_tokens": truth.prompt,
        "completion_tokens": truth.completion,
        "total_tokens": truth.prompt + truth.completion,
        "prompt_tokens_details": {"cached_tokens": truth.cached},
    }
