"""Background responses that are streamed: to their end, or cut before it."""

import asyncio
import json

import pytest

from proxy.demo.scripted import Ending, Received, Reply, chunk, chunked_head
from tests.deferred.conftest import OFTEN_S, StartProxy
from tests.deferred.objects_upstream import OUTPUT, TOKENS, USAGE, Objects, event
from tests.deferred.watching import RESPONSES, call, client, post, state, wait_for
from tests.e2e.raw_http import Client, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess

EVENTS = (("Content-Type", "text/event-stream"),)
RUNNING = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "in_progress",
    "model": "gpt-4o-2024-08-06",
    "background": True,
    "output": [],
    "usage": None,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
}
ENDED = RUNNING | {"status": "completed", "output": OUTPUT, "usage": USAGE}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
CREATED = event("response.created", 0, response=RUNNING)
DELTA = event("response.output_text.delta", 1, delta="Hello.", **PLACE)
COMPLETED = event("response.completed", 2, response=ENDED)
ASKED = {"model": "gpt-4o", "input": "Hi", "background": True, "stream": True}


class Streaming(Objects):
    """It streams what is made in the background, as far as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: tuple[bytes | float | Ending, ...] = ()

    async def __call__(self, received: Received, reply: Reply) -> None:
        if received.path.endswith(RESPONSES) and received.method == "POST":
            self.objects["resp_1"] = dict(RUNNING)
            await reply.send(chunked_head(200, EVENTS))
            for part in self.parts:
                if isinstance(part, bytes):
                    await reply.send(chunk(part))
                elif part is Ending.ABORT:
                    reply.abort()
                else:
                    await asyncio.sleep(float(part))  # type: ignore[arg-type]
            await reply.send(b"0\r\n\r\n")
            return
        await super().__call__(received, reply)


@pytest.fixture
def upstream(scripted: ScriptedThread) -> Streaming:
    objects = Streaming()
    scripted.answers(objects)
    return objects


def test_a_stream_to_its_end_settles_at_once_and_is_owned(
    quiet: ProxyProcess, upstream: Streaming
) -> None:
    upstream.parts = (CREATED, DELTA, COMPLETED)
    key, other = quiet.key(), quiet.key("other")
    with client(quiet, key) as openai:
        kinds = [each.type for each in openai.responses.create(**ASKED)]  # type: ignore[call-overload]
    assert kinds[-1] == "response.completed"
    assert (state(quiet), quiet.tokens()) == (["exact"], TOKENS)
    assert call(quiet, key, f"{RESPONSES}/resp_1").status == 200
    assert call(quiet, other, f"{RESPONSES}/resp_1").status == 404
    assert quiet.tokens() == TOKENS
    quiet.check_sums()


def test_it_is_known_while_it_runs(quiet: ProxyProcess, upstream: Streaming) -> None:
    upstream.parts = (CREATED, DELTA, 1.0, COMPLETED)
    key = quiet.key()
    with Client(quiet.port) as streaming:
        streaming.send(request(RESPONSES, key=key, body=json.dumps(ASKED).encode()))
        streaming.until(b"output_text.delta")
        wait_for(quiet, "deferred")
        assert call(quiet, key, f"{RESPONSES}/resp_1").status == 200
        streaming.until(b"response.completed")
        assert (state(quiet), quiet.tokens()) == (["exact"], TOKENS)


def test_one_that_ends_by_a_read_while_it_is_streamed_is_billed_once(
    quiet: ProxyProcess, upstream: Streaming
) -> None:
    upstream.parts = (CREATED, DELTA, 0.7, COMPLETED)
    key = quiet.key()
    with Client(quiet.port) as streaming:
        streaming.send(request(RESPONSES, key=key, body=json.dumps(ASKED).encode()))
        streaming.until(b"output_text.delta")
        wait_for(quiet, "deferred")
        upstream.objects["resp_1"] = dict(ENDED)
        assert call(quiet, key, f"{RESPONSES}/resp_1").status == 200
        assert state(quiet) == ["exact"]
        streaming.until(b"response.completed")
    assert quiet.tokens() == TOKENS
    quiet.check_sums()


@pytest.mark.parametrize("settings", [{}, {"on_disconnect": "cancel"}])
@pytest.mark.parametrize("who", ["client", "upstream", "proxy"])
def test_a_cut_stream_goes_on_in_the_background(
    start_proxy: StartProxy, upstream: Streaming, who: str, settings: dict[str, str]
) -> None:
    proxy = start_proxy(poll_interval_s=OFTEN_S, **settings)
    cut = Ending.ABORT if who == "upstream" else 0.5
    upstream.parts = (CREATED, DELTA, cut)
    key = proxy.key()
    with Client(proxy.port) as streaming:
        streaming.send(request(RESPONSES, key=key, body=json.dumps(ASKED).encode()))
        streaming.until(b"output_text.delta")
        wait_for(proxy, "deferred")
    if who == "proxy":
        proxy.kill()
        proxy.start()
    upstream.objects["resp_1"] = dict(ENDED)
    wait_for(proxy, "exact")
    assert proxy.tokens() == TOKENS
    proxy.check_sums()


def test_a_cut_stream_that_is_not_in_the_background_is_partial(
    quiet: ProxyProcess, upstream: Streaming
) -> None:
    upstream.parts = (CREATED, DELTA, Ending.ABORT)
    post(quiet, quiet.key(), background=False, stream=True)
    assert state(quiet) == ["partial"]
