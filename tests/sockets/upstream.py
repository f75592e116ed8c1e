"""An upstream of WebSockets: what it is asked, and a script for each socket."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

Script = Callable[["Socket"], Awaitable[None]]


@dataclass(slots=True)
class Socket:
    """The upstream's end of one socket, and the handshake's request."""

    web_socket: web.WebSocketResponse
    headers: dict[str, str]
    query: str
    heard: list[Any] = field(default_factory=list)

    async def say(self, **message: Any) -> None:
        await self.web_socket.send_str(json.dumps(message))

    async def hear(self) -> Any:
        """Return the client's next message; None once it is gone."""
        message = await self.web_socket.receive()
        if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
            return None
        self.heard.append(json.loads(message.data))
        return self.heard[-1]


class SocketUpstream:
    """``async with`` it: sockets at every path under ``/v1``; ``plain`` answers what is none."""

    def __init__(self) -> None:
        app = web.Application()
        app.router.add_get("/v1/{path:.+}", self._serve)
        app.router.add_post("/v1/{path:.+}", self._serve)
        self._server = TestServer(app)
        self.script: Script = answer_each
        self.refuse: web.Response | None = None
        self.plain: Callable[[web.Request], Awaitable[web.Response]] | None = None
        self.sockets: list[Socket] = []
        self.asked: list[dict[str, str]] = []

    @property
    def base_url(self) -> str:
        return str(self._server.make_url("/v1"))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(headers)
        if self.refuse is not None:
            return self.refuse
        if self.plain is not None and "upgrade" not in headers:
            return await self.plain(request)
        web_socket = web.WebSocketResponse(
            protocols=("realtime",), max_msg_size=0, autoping=True, compress=True
        )
        await web_socket.prepare(request)
        socket = Socket(web_socket, headers, request.query_string)
        self.sockets.append(socket)
        await self.script(socket)
        await web_socket.close()
        return web_socket

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._server.close()


USAGE = {
    "total_tokens": 310,
    "input_tokens": 190,
    "output_tokens": 120,
    "input_token_details": {
        "text_tokens": 119,
        "audio_tokens": 60,
        "image_tokens": 11,
        "cached_tokens": 90,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 20, "image_tokens": 6},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 90},
}
TOKENS = {
    "input": 55,
    "cached_input": 64,
    "input_audio": 40,
    "cached_input_audio": 20,
    "input_image": 5,
    "cached_input_image": 6,
    "output": 30,
    "output_audio": 90,
}
"""What :data:`USAGE` comes to."""


async def begin(socket: Socket, number: int) -> None:
    await socket.say(type="response.created", event_id="e", response={"id": f"resp_{number}"})
    await socket.say(type="response.output_audio.delta", event_id="e", delta="aGk=" * 100)


async def end(socket: Socket, number: int, status: str = "completed", **usage: Any) -> None:
    await socket.say(
        type="response.done",
        event_id="e",
        response={"id": f"resp_{number}", "status": status, "usage": usage or USAGE},
    )


async def answer_each(socket: Socket) -> None:
    """Greet, and answer each ``response.create``, as a realtime session does."""
    model = socket.query.partition("model=")[2].partition("&")[0]
    await socket.say(type="session.created", event_id="e", session={"model": model})
    number = 0
    while (message := await socket.hear()) is not None:
        if message["type"] == "response.create":
            number += 1
            await begin(socket, number)
            await end(socket, number)
