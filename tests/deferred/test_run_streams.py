"""Runs of threads that are streamed, and stop for their tools' outputs (passthrough)."""

import json
from typing import Any

import pytest

from proxy.demo.scripted import Received, Reply, whole
from tests.deferred.objects_upstream import RUN_USAGE, Objects
from tests.deferred.watching import CLIENT_KEY, call, post, state
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import EVENTS

RUNS = "/v1/threads/thread_1/runs"
RUN = {"id": "run_1", "object": "thread.run", "model": "gpt-4o", "status": "queued", "usage": None}
STEP = {"id": "step_1", "object": "thread.run.step", "status": "completed",
        "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23}}  # fmt: skip


def stream(status: str, **members: Any) -> bytes:
    """A run as a stream: it begins, one of its steps ends, and it comes to a state."""
    events = {
        "thread.run.created": RUN,
        "thread.run.step.completed": STEP,
        f"thread.run.{status}": RUN | {"status": status, **members},
    }
    body = "".join(f"event: {kind}\ndata: {json.dumps(data)}\n\n" for kind, data in events.items())
    return whole(200, body.encode() + b"event: done\ndata: [DONE]\n\n", (EVENTS,))


class Running(Objects):
    """It streams one run, up to its tools, and from there as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.first = stream("requires_action")
        self.second = stream("completed", usage=RUN_USAGE)

    async def __call__(self, received: Received, reply: Reply) -> None:
        if received.path == RUNS:
            self.objects["run_1"] = RUN | {"status": "requires_action"}
            await reply.send(self.first)
        elif received.path.endswith("/submit_tool_outputs"):
            await reply.send(self.second)
        else:
            await super().__call__(received, reply)


@pytest.fixture
def upstream(scripted: ScriptedThread) -> Running:
    running = Running()
    scripted.answers(running)
    return running


def begin(proxy: ProxyProcess) -> None:
    post(proxy, CLIENT_KEY, RUNS, assistant_id="a", stream=True)


def submit(proxy: ProxyProcess) -> None:
    post(proxy, CLIENT_KEY, f"{RUNS}/run_1/submit_tool_outputs", tool_outputs=[], stream=True)


def test_a_run_that_stops_for_its_tools_is_settled_by_its_end(
    reads_only: ProxyProcess, upstream: Running
) -> None:
    begin(reads_only)
    assert state(reads_only, "threads.runs") == ["deferred"]
    completed, upstream.second = upstream.second, stream("requires_action")
    submit(reads_only)
    assert state(reads_only, "threads.runs") == ["deferred"]
    upstream.second = completed
    submit(reads_only)
    assert state(reads_only, "threads.runs") == ["exact"]
    assert reads_only.tokens() == {"input": 30, "output": 9}
    reads_only.check_sums()


def test_a_run_that_stops_for_good_is_settled_by_a_read(
    reads_only: ProxyProcess, upstream: Running
) -> None:
    begin(reads_only)
    upstream.end("run_1", "expired", usage=RUN_USAGE)
    call(reads_only, CLIENT_KEY, f"{RUNS}/run_1")
    assert state(reads_only, "threads.runs") == ["exact"]
    assert reads_only.tokens() == {"input": 30, "output": 9}


def test_a_run_that_ends_by_itself_is_settled_at_once(
    reads_only: ProxyProcess, upstream: Running
) -> None:
    upstream.first = upstream.second
    begin(reads_only)
    assert state(reads_only, "threads.runs") == ["exact"]
    assert reads_only.tokens() == {"input": 30, "output": 9}
