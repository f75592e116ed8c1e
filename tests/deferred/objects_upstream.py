"""An upstream that keeps objects: background responses, batches and runs, with a life of theirs."""

import itertools
import json
from typing import Any

from proxy.demo.scripted import Received, Reply, whole
from tests.web.answers import EVENTS, as_json

USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 20},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 59,
}
TOKENS = {"input": 30, "cached_input": 20, "output": 9}
RUN_USAGE = {"prompt_tokens": 30, "completion_tokens": 9, "total_tokens": 39}
OUTPUT = [
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
    }
]
MISSING = as_json({"error": {"message": "No such object.", "type": "invalid_request_error"}}, 404)


class Objects:
    """A responder; ``objects`` by id may be changed at any time. ``asked`` counts the reads.

    ``files`` are whole answers, by the file's id.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.asked: list[Received] = []
        self.made_id: str | None = None
        self.first_status = "queued"
        self._numbers = itertools.count(1)

    def end(self, name: str, status: str = "completed", **members: Any) -> None:
        """Bring an object to its end; a response or batch with usage unless told otherwise."""
        found = self.objects[name]
        members = {"usage": USAGE, **members}
        if found["object"] == "response" and members["usage"] is not None:
            members = {"output": OUTPUT, **members}
        self.objects[name] = found | members | {"status": status}

    def reads(self, name: str) -> int:
        """How often an object was read, by whomever."""
        return sum(name in received.path for received in self.asked)

    async def __call__(self, received: Received, reply: Reply) -> None:
        if received.path.endswith("/content"):
            self.asked.append(received)
            await reply.send(self.files.get(received.path.split("/")[-2], MISSING))
            return
        await reply.send(self._answer(received))

    def _answer(self, received: Received) -> bytes:
        parts = received.path.strip("/").split("/")[1:]
        if received.method == "POST" and parts[-1] in {"responses", "batches", "runs"}:
            return self._make(parts[-1], received)
        name = next((part for part in parts if part in self.objects), None)
        self.asked.append(received)
        if name is None:
            return MISSING
        if received.method == "DELETE":
            del self.objects[name]
            return as_json({"id": name, "object": "response", "deleted": True})
        if parts[-1] == "cancel" and self.objects[name]["status"] in {"queued", "in_progress"}:
            self.objects[name]["status"] = "cancelled"
        if parts[-1] == "input_items":
            return as_json({"object": "list", "data": [], "has_more": False})
        found = self.objects[name]
        if "stream=true" in received.target:
            return as_stream(found, 1)
        return as_json(found)

    def _make(self, kind: str, received: Received) -> bytes:
        asked = json.loads(received.body)
        number = next(self._numbers)
        if kind == "batches":
            made = {"id": f"batch_{number}", "object": "batch", "status": "validating",
                    "endpoint": "/v1/responses", "input_file_id": "file-1", "created_at": 1,
                    "completion_window": "24h"}  # fmt: skip
        elif kind == "runs":
            made = {"id": f"run_{number}", "object": "thread.run", "status": "queued",
                    "model": "gpt-4o", "usage": None}  # fmt: skip
        else:
            made = {"id": f"resp_{number}", "object": "response", "status": self.first_status,
                    "model": "gpt-4o-2024-08-06", "output": [], "usage": None, "created_at": 1,
                    "background": bool(asked.get("background")), "parallel_tool_calls": True,
                    "tool_choice": "auto", "tools": [], "error": None}  # fmt: skip
        made["id"] = self.made_id or made["id"]
        self.objects.setdefault(str(made["id"]), made)
        return as_json(self.objects[str(made["id"])])


def event(kind: str, number: int, **members: Any) -> bytes:
    text = json.dumps({"type": kind, "sequence_number": number, **members})
    return f"event: {kind}\ndata: {text}\n\n".encode()


def as_stream(found: dict[str, Any], after: int = -1) -> bytes:
    """A response as its stream of events, from after a number on."""
    started = found | {"status": "in_progress", "usage": None, "output": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    events = [
        event("response.created", 0, response=started),
        event("response.in_progress", 1, response=started),
        event("response.output_text.delta", 2, delta="Hello.", **place),
    ]
    if found["status"] not in {"queued", "in_progress"}:
        events.append(event(f"response.{found['status']}", 3, response=found))
    return whole(200, b"".join(events[after + 1 :]), (EVENTS,))
