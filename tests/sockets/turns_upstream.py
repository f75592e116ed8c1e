"""An upstream of the Responses API's sockets: it answers each turn, and remembers its own."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from tests.sockets.upstream import Socket

MODEL = "gpt-5-2025-08-07"
USED = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 107,
}
TURN_TOKENS = {"input": 60, "cached_input": 40, "output": 7}
"""What :data:`USED` comes to."""
OUTPUT = [
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Hello there.", "annotations": []}],
    }
]
NUMBERS = itertools.count(1)


def lane_of(turn: Any) -> dict[str, Any]:
    return {"stream_id": turn["stream_id"]} if "stream_id" in turn else {}


def a_response(**members: Any) -> dict[str, Any]:
    return {"id": f"resp_{next(NUMBERS)}", "object": "response", "model": MODEL, "created_at": 1,
            "status": "in_progress", "output": [], "usage": None, "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [], "service_tier": "default", **members}  # fmt: skip


async def begin_turn(socket: Socket, turn: Any) -> dict[str, Any]:
    response = a_response()
    lane = lane_of(turn)
    await socket.say(type="response.created", sequence_number=0, response=response, **lane)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    await socket.say(type="response.output_text.delta", sequence_number=1, delta="Hello there.",
                     **place, **lane)  # fmt: skip
    return response


async def end_turn(
    socket: Socket, turn: Any, response: dict[str, Any], status: str = "completed", **members: Any
) -> None:
    ended = response | {"status": status, "usage": USED, "output": OUTPUT} | members
    await socket.say(type=f"response.{status}", sequence_number=2, response=ended, **lane_of(turn))


async def not_found(socket: Socket, turn: Any) -> None:
    error = {"type": "invalid_request_error", "code": "previous_response_not_found",
             "message": "Not in memory.", "param": "previous_response_id"}  # fmt: skip
    await socket.say(type="error", error=error, status=400, **lane_of(turn))


Each = Callable[[Socket, Any], Awaitable[None]]


async def answer(socket: Socket, turn: Any) -> None:
    await end_turn(socket, turn, await begin_turn(socket, turn))


def each(each_turn: Each) -> Callable[[Socket], Awaitable[None]]:
    """A script that does the same for each turn."""

    async def script(socket: Socket) -> None:
        while (turn := await socket.hear()) is not None:
            await each_turn(socket, turn)

    return script
