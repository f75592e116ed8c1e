"""The official SDKs of OpenAI and Anthropic cross the proxy, and are metered."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import AzureOpenAI, OpenAI

from proxy.demo.scripted import Received, Reply, whole
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import EVENTS, as_json
from tests.wire.audio_files import wav

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5-2025-08-07",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        },
        {"id": "ws_1", "type": "web_search_call", "status": "completed",
         "action": {"type": "search", "query": "x"}},
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [{"type": "web_search"}],
    "service_tier": "default",
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 20},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 59,
    },
}  # fmt: skip
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 11,
              "output_tokens": 3},
}  # fmt: skip
IMAGE_USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
    "output_tokens": 272,
    "total_tokens": 284,
}
TRANSCRIPT_USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"audio_tokens": 14, "text_tokens": 0},
    "output_tokens": 5,
    "total_tokens": 19,
}
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "Hello."}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}  # fmt: skip


def events(*values: dict[str, Any]) -> bytes:
    lines = [f"event: {v['type']}\ndata: {json.dumps(v)}\n\n".encode() for v in values]
    return whole(200, b"".join(lines), (EVENTS,))


def response_events() -> bytes:
    begun = RESPONSE | {"status": "in_progress", "output": [], "usage": None}
    return events(
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
         "item": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
                  "status": "in_progress"}},
        {"type": "response.content_part.added", "sequence_number": 2, **PLACE,
         "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", "sequence_number": 3, **PLACE, "delta": "Hello.",
         "logprobs": []},
        {"type": "response.completed", "sequence_number": 4, "response": RESPONSE},
    )  # fmt: skip


def message_events() -> bytes:
    begun = MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE["usage"] | {
        "output_tokens": 1}}  # fmt: skip
    return events(
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0,
         "delta": {"type": "text_delta", "text": "Hello."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
         "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    )  # fmt: skip


async def answer(received: Received, reply: Reply) -> None:
    """Answer as OpenAI and Anthropic do, by the path and what is asked for."""
    streams = b'"stream":true' in received.body or b'"stream": true' in received.body
    image = {"created": 1, "data": [{"b64_json": "AA=="}], "usage": IMAGE_USAGE}
    answers = {
        "/v1/responses": response_events() if streams else as_json(RESPONSE),
        "/v1/messages": message_events() if streams else as_json(MESSAGE),
        "/v1/chat/completions": as_json(CHAT),
        "/v1/images/generations": as_json(image),
        "/v1/images/edits": as_json(image),
        "/v1/embeddings": as_json({
            "object": "list", "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "usage": {"prompt_tokens": 3, "total_tokens": 3}}),
        "/v1/audio/transcriptions": as_json({"text": "Hi", "usage": TRANSCRIPT_USAGE}),
        "/v1/audio/translations": as_json({"text": "Hi"}),
        "/v1/audio/speech": whole(200, b"\xff\xfb" * 99, (("Content-Type", "audio/mpeg"),)),
        "/v1/moderations": as_json({"id": "modr-1", "model": "omni-moderation", "results": []}),
        "/v1/models": as_json({"object": "list", "data": [
            {"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "openai"}]}),
    }  # fmt: skip
    await reply.send(answers[received.path])


@pytest.fixture(params=["managed", "passthrough"])
def proxy(request: pytest.FixtureRequest, scripted: ScriptedThread) -> ProxyProcess:
    scripted.answers(answer)
    found: ProxyProcess = request.getfixturevalue(request.param)
    return found


class Customer:
    """A key of its own, and what was used with it."""

    def __init__(self, proxy: ProxyProcess, request: pytest.FixtureRequest) -> None:
        managed = proxy is request.getfixturevalue("managed")
        name = f"customer-{abs(hash(request.node.name))}"
        self.proxy = proxy
        self.secret = proxy.key(name) if managed else f"sk-{name}"

    def used(self) -> Counter[str]:
        """What is billed, by metric and type; seconds are text."""
        usage = self.proxy.usage(self.secret)
        assert usage["completeness"]["open"] == 0
        return Counter(
            {f"{line['metric']}.{line['type']}": line["quantity"] for line in usage["lines"]}
        )


@pytest.fixture
def customer(proxy: ProxyProcess, request: pytest.FixtureRequest) -> Customer:
    return Customer(proxy, request)


@pytest.fixture
def client(customer: Customer) -> Iterator[OpenAI]:
    with OpenAI(base_url=customer.proxy.base_url, api_key=customer.secret) as client:
        yield client


@pytest.fixture
def claude(customer: Customer) -> Iterator[Anthropic]:
    with Anthropic(base_url=customer.proxy.address, api_key=customer.secret) as client:
        yield client


RESPONSE_USED = Counter(
    {"tokens.input": 30, "tokens.cached_input": 20, "tokens.output": 9, "tool_calls.web_search": 1}
)


def test_responses(client: OpenAI, customer: Customer, scripted: ScriptedThread) -> None:
    made = client.responses.create(model="gpt-5", input="Hi")
    assert made.output_text == "Hello."
    assert customer.used() == RESPONSE_USED
    sent = scripted.received[-1].json()
    stored = customer.secret.startswith("sk-")  # in passthrough it is the client's own account
    assert sent == {"model": "gpt-5", "input": "Hi"} | ({} if stored else {"store": False})


def test_streamed_responses(client: OpenAI, customer: Customer) -> None:
    with client.responses.stream(model="gpt-5", input="Hi", store=False) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "Hello."
    assert customer.used() == RESPONSE_USED


def test_images(client: OpenAI, customer: Customer) -> None:
    client.images.generate(model="gpt-image-1", prompt="a lorry")
    picture = ("lorry.png", io.BytesIO(b"\x89PNG"), "image/png")
    edited = client.images.edit(model="gpt-image-1", image=picture, prompt="red")
    assert edited.data
    assert customer.used() == Counter({"tokens.input": 24, "tokens.output_image": 544})


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_audio(client: OpenAI, customer: Customer) -> None:
    sound = ("lorry.wav", wav(1.5))
    heard = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound)
    assert heard.text == "Hi"
    client.audio.translations.create(model="whisper-1", file=sound)
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello")
    assert len(spoken.content) == 198
    assert customer.used() == Counter(
        {"tokens.input_audio": 14, "tokens.output": 5, "audio_seconds.": "1.5", "characters.": 5}
    )


def test_embeddings_moderations_and_models(client: OpenAI, customer: Customer) -> None:
    made = client.embeddings.create(
        model="text-embedding-3-small", input="Hi", encoding_format="float"
    )
    assert made.data[0].embedding == [0.5]
    client.moderations.create(input="Hi")
    assert [model.id for model in client.models.list()] == ["gpt-4o"]
    assert customer.used() == Counter({"tokens.input": 3})


MESSAGE_USED = Counter(
    {"tokens.input": 5, "tokens.cache_write": 7, "tokens.cached_input": 11, "tokens.output": 3}
)


def test_messages(claude: Anthropic, customer: Customer, scripted: ScriptedThread) -> None:
    made = claude.messages.create(
        model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
    )
    assert made.content[0].type == "text"
    assert customer.used() == MESSAGE_USED
    assert scripted.received[-1].header("anthropic-version") is not None


def test_streamed_messages(claude: Anthropic, customer: Customer) -> None:
    with claude.messages.stream(
        model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        assert "".join(stream.text_stream) == "Hello."
        assert stream.get_final_message().usage.output_tokens == 3
    assert customer.used() == MESSAGE_USED


@pytest.mark.parametrize("proxy", ["managed"], indirect=True)
def test_azures_client(customer: Customer, scripted: ScriptedThread) -> None:
    with AzureOpenAI(
        azure_endpoint=customer.proxy.address, api_key=customer.secret, api_version="2024-10-21"
    ) as client:
        made = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}]
        )
    assert made.choices[0].message.content == "Hello."
    assert customer.used() == Counter({"tokens.input": 8, "tokens.output": 2})
    assert scripted.received[-1].path == "/v1/chat/completions"


def test_refusals_are_the_sdks_own(
    request: pytest.FixtureRequest, scripted: ScriptedThread
) -> None:
    scripted.answers(answer)
    proxy: ProxyProcess = request.getfixturevalue("managed")
    secret: str = request.getfixturevalue("key")
    with OpenAI(base_url=proxy.base_url, api_key=secret) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model="gpt-5", input="Hi", previous_response_id="resp_1")
        assert refused.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError) as closed:
            client.files.list()
        assert closed.value.code == "path_not_open"
    with (
        Anthropic(base_url=proxy.address, api_key=secret) as claude,
        pytest.raises(anthropic.BadRequestError),
    ):
        claude.beta.messages.create(
            model="claude-sonnet-5", max_tokens=9, messages=[], container="container_1"
        )
