"""The demonstration's upstream: what the official SDK makes of it, and its truth."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from proxy.demo.behaviour import Behaviour, behaviour
from proxy.demo.chat import ChatResponder
from proxy.demo.scripted import ScriptedUpstream
from proxy.demo.truth import Answer

MESSAGES: Any = [{"role": "user", "content": "What does a weighbridge do?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]


@pytest.fixture
async def responder() -> ChatResponder:
    return ChatResponder()


@pytest.fixture
async def upstream(responder: ChatResponder) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(responder) as started:
        yield started


@pytest.fixture
async def sdk(upstream: ScriptedUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key="any", max_retries=0
    ) as client:
        yield client


def script(words: str) -> dict[str, str]:
    return {"x-demo-script": words}


def only(responder: ChatResponder) -> Answer:
    (answer,) = responder.truth.answers
    return answer


async def test_plain_answer(sdk: openai.AsyncOpenAI, responder: ChatResponder) -> None:
    answer = await sdk.chat.completions.create(
        model="gpt-4o",
        messages=MESSAGES,
        extra_headers=script("prompt=1000,cached=600,completion=50,reasoning=20,tier=flex"),
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 600
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 50)
    assert answer.service_tier == "flex"
    assert only(responder).completion_tokens == 50
    assert only(responder).outcome == "finished"


@pytest.mark.parametrize("wanted", [True, False])
async def test_stream_reports_usage_only_where_it_is_asked_for(
    sdk: openai.AsyncOpenAI, responder: ChatResponder, wanted: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if wanted else {}
    stream = await sdk.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, **options
    )
    chunks = [chunk async for chunk in stream]
    members = ["usage" in chunk.model_fields_set for chunk in chunks]
    assert all(members) if wanted else not any(members)
    assert (chunks[-1].choices == []) is wanted
    if wanted:
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == only(responder).completion_tokens
    assert only(responder).usage_reported is wanted


async def test_same_request_same_bytes(upstream: ScriptedUpstream, sdk: openai.AsyncOpenAI) -> None:
    create = sdk.chat.completions.with_raw_response.create
    first, second = [await create(model="gpt-4o", messages=MESSAGES) for _ in range(2)]
    assert first.content == second.content
    assert len(upstream.received) == 2


async def test_tools_and_choices(sdk: openai.AsyncOpenAI, responder: ChatResponder) -> None:
    plain = await sdk.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=TOOLS, n=2)
    assert [choice.finish_reason for choice in plain.choices] == ["tool_calls"] * 2
    stream = await sdk.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, tools=TOOLS, n=2, stream=True
    )
    arguments = ["", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                arguments[choice.index] += call.function.arguments or ""
    assert [json.loads(text) for text in arguments] == [{"city": "Bern"}] * 2
    plain_truth, stream_truth = responder.truth.answers
    assert plain_truth.completion_tokens == stream_truth.completion_tokens


@pytest.mark.parametrize(
    ("status", "error"), [(429, openai.RateLimitError), (500, openai.InternalServerError)]
)
async def test_errors_bill_nothing(
    sdk: openai.AsyncOpenAI,
    responder: ChatResponder,
    status: int,
    error: type[openai.APIStatusError],
) -> None:
    with pytest.raises(error):
        await sdk.chat.completions.create(model=f"demo-status={status}", messages=MESSAGES)
    assert responder.truth.as_json()["billed"] == 0
    assert responder.truth.as_json()["totals"]["prompt_tokens"] == 0


async def test_refused_stream_options(sdk: openai.AsyncOpenAI) -> None:
    options: Any = {"include_usage": True}
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(
            model="demo-no-options", messages=MESSAGES, stream=True, stream_options=options
        )
    await sdk.chat.completions.create(model="demo-no-options", messages=MESSAGES)


async def test_client_that_leaves_is_billed_for_what_was_generated(
    sdk: openai.AsyncOpenAI, responder: ChatResponder, upstream: ScriptedUpstream
) -> None:
    stream = await sdk.chat.completions.create(
        model="demo-hang-after=3+pieces=9", messages=MESSAGES, stream=True
    )
    await anext(aiter(stream))
    await stream.close()
    await upstream.wait_idle()
    assert only(responder).outcome == "cut"
    assert 0 < only(responder).completion_tokens < 9


@pytest.mark.parametrize("how", ["die-after=2", "error-after=2"])
async def test_streams_that_break(sdk: openai.AsyncOpenAI, how: str) -> None:
    stream = await sdk.chat.completions.create(model=f"demo-{how}", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        _ = [chunk async for chunk in stream]


async def test_only_its_key_is_let_in() -> None:
    async with ScriptedUpstream(ChatResponder("right")) as upstream:
        for key, good in (("right", True), ("wrong", False)):
            async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key=key) as sdk:
                if good:
                    assert (await sdk.models.list()).data
                else:
                    with pytest.raises(openai.AuthenticationError):
                        await sdk.models.list()


async def test_what_it_does_not_know(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="demo-colour"):
        await sdk.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, extra_headers=script("demo-colour")
        )
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("nothing/here")
    receipt: Any = await sdk.post("/anything", body={"a": 1}, cast_to=object)
    assert receipt["bytes"] == len(b'{"a":1}')


def test_words() -> None:
    assert behaviour(None, "gpt-4o") == Behaviour()
    how = behaviour("cached=10, no-usage", "demo-gap=0.5+usage-everywhere")
    assert (how.cached, how.usage, how.gap, how.usage_everywhere) == (10, False, 0.5, True)
    for wrong in ("cached", "no-cached", "colour=red", "cached=many"):
        with pytest.raises(ValueError, match=r"\w"):
            behaviour(wrong, "gpt-4o")
