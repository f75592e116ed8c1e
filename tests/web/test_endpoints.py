"""Every endpoint over HTTP: what is read of its request, and what the ledger holds after it."""

import base64
import json
from collections import Counter
from typing import Any

import pytest

from proxy.demo.scripted import steps, whole
from tests.e2e.raw_http import Answer, Client, ask, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.proxy_process import ProxyProcess
from tests.web.answers import as_events, as_json, kept
from tests.wire.audio_files import mp4, wav

DONE = "[DONE]"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def form(*fields: tuple[str, str], audio: bytes | None = None, name: str = "file") -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields
    ]
    if audio is not None:
        head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'
        parts.append(head.encode() + audio + b"\r\n")
    return b"".join(parts) + b"--b--\r\n"


FORM = {"Content-Type": 'multipart/form-data; boundary="b"'}


def send(proxy: ProxyProcess, key: str, path: str, **members: Any) -> Answer:
    return ask(proxy.port, request(path, key=key, body=json.dumps(members).encode()))


@pytest.fixture(params=["managed", "passthrough"])
def proxy(request: pytest.FixtureRequest) -> ProxyProcess:
    found: ProxyProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def secret(request: pytest.FixtureRequest, proxy: ProxyProcess) -> str:
    managed = proxy is request.getfixturevalue("managed")
    found: str = request.getfixturevalue("key") if managed else "sk-of-a-client"
    return found


TOKENS = {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}


@pytest.mark.parametrize(
    ("path", "asked", "answer", "used"),
    [
        (
            "/v1/completions",
            {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"},
            as_json({"usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}}),
            {("tokens", "input"): 2, ("tokens", "output"): 3},
        ),
        (
            RESPONSES,
            {"model": "gpt-5", "input": "Hi", "stream": True, "store": False},
            as_events(
                {"type": "response.output_text.delta", "delta": "Hi"},
                {"type": "response.completed", "response": {"model": "gpt-5", "usage": TOKENS}},
            ),
            {("tokens", "input"): 9, ("tokens", "output"): 4},
        ),
        (
            "/v1/messages",
            {"model": "claude", "max_tokens": 9, "messages": []},
            as_json({"usage": {"input_tokens": 5, "cache_read_input_tokens": 3,
                               "output_tokens": 2}}),
            {("tokens", "input"): 5, ("tokens", "cached_input"): 3, ("tokens", "output"): 2},
        ),
        (
            "/v1/embeddings",
            {"model": "text-embedding-3-small", "input": "Hi"},
            as_json({"usage": {"prompt_tokens": 2, "total_tokens": 2}}),
            {("tokens", "input"): 2},
        ),
        ("/v1/moderations", {"input": "Hi"}, as_json({"results": []}), {}),
        (
            "/v1/images/generations",
            {"model": "dall-e-3", "prompt": "a lorry", "n": 2, "size": "1024x1792",
             "quality": "hd"},
            as_json({"created": 1, "data": [{"url": "a"}, {"url": "b"}]}),
            {("images", "hd/1024x1792"): 2},
        ),
        (
            "/v1/images/generations",
            {"model": "gpt-image-1", "prompt": "a lorry"},
            as_json({"data": [{}], "usage": {
                "input_tokens": 10, "input_tokens_details": {"text_tokens": 10},
                "output_tokens": 300, "total_tokens": 310}}),
            {("tokens", "input"): 10, ("tokens", "output_image"): 300},
        ),
        (
            "/v1/audio/speech",
            {"model": "tts-1", "input": "Grüße 🚚", "voice": "alloy"},
            whole(200, b"\xff\xfb\x90\x64" * 999, (("Content-Type", "audio/mpeg"),)),
            {("characters", ""): 7},
        ),
        (
            "/v1/audio/speech",
            {"model": "gpt-4o-mini-tts", "input": "Hi", "voice": "alloy", "stream_format": "sse"},
            as_events({"type": "speech.audio.delta", "audio": "AA"},
                      {"type": "speech.audio.done", "usage": TOKENS}),
            {("tokens", "input"): 9, ("tokens", "output_audio"): 4},
        ),
    ],
)  # fmt: skip
def test_bodies_of_json(
    scripted: ScriptedThread,
    proxy: ProxyProcess,
    secret: str,
    *,
    path: str,
    asked: dict[str, Any],
    answer: bytes,
    used: dict[tuple[str, str], int],
) -> None:
    scripted.answers(steps(answer))
    body = json.dumps(asked, ensure_ascii=False).encode()
    got = ask(proxy.port, request(path, key=secret, body=body))
    assert got.status == 200
    assert got.body == answer.partition(b"\r\n\r\n")[2]
    assert scripted.received[0].body == body
    found = kept(proxy, got)
    assert found.used == Counter(used)
    assert found.row["state"] == "exact"
    assert found.row["model_requested"] == asked.get("model", "")


@pytest.mark.parametrize(
    ("audio", "answer", "used", "state"),
    [
        (wav(2.5), as_json({"text": "Hi", "usage": {"type": "duration", "seconds": 3}}),
         {("audio_seconds", ""): 3_000_000}, "exact"),
        (wav(2.5), as_json({"text": "Hi", "duration": 2.4}),
         {("audio_seconds", ""): 2_400_000}, "exact"),
        (wav(2.5), whole(200, b"1\n00:00:00,000", (("Content-Type", "text/plain"),)),
         {("audio_seconds", ""): 2_500_000}, "estimated"),
        (mp4(7, last=True, sound=200_000), as_json({"text": "Hi"}),
         {("audio_seconds", ""): 7_000_000}, "estimated"),
        (b"no audio", as_json({"text": "Hi"}), {}, "estimated"),
        (wav(2.5), as_json({"error": {"message": "no"}}, 400), {}, "failed"),
    ],
)  # fmt: skip
def test_transcriptions(
    scripted: ScriptedThread,
    proxy: ProxyProcess,
    secret: str,
    *,
    audio: bytes,
    answer: bytes,
    used: dict[tuple[str, str], int],
    state: str,
) -> None:
    scripted.answers(steps(answer))
    body = form(("model", "whisper-1"), ("response_format", "srt"), audio=audio)
    got = ask(proxy.port, request("/v1/audio/transcriptions", key=secret, headers=FORM, body=body))
    assert got.body == answer.partition(b"\r\n\r\n")[2]
    assert scripted.received[0].body == body
    found = kept(proxy, got)
    assert found.used == Counter(used)
    assert found.row["state"] == state
    assert found.row["endpoint"] == "audio.transcriptions"


def test_a_form_is_metered_while_it_streams_through(
    scripted: ScriptedThread, passthrough: ProxyProcess
) -> None:
    scripted.answers(steps(as_json({"text": "Hi"})))
    audio = wav(200)
    body = form(("model", "whisper-1"), audio=audio)
    head = {**FORM, "Transfer-Encoding": "chunked"}
    lines = request("/v1/audio/translations", key="sk-a", headers=head)
    with Client(passthrough.port) as client:
        client.send(lines.replace(b"Content-Length: 0\r\n", b""))
        for at in range(0, len(body), 300_001):
            piece = body[at : at + 300_001]
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        got = client.answer()
    assert scripted.received[0].body == body
    found = kept(passthrough, got)
    assert found.used == Counter({("audio_seconds", ""): 200_000_000})
    assert found.row["model"] == "whisper-1"


def test_images_by_form(scripted: ScriptedThread, proxy: ProxyProcess, secret: str) -> None:
    scripted.answers(steps(as_json({"data": [{}, {}, {}]})))
    body = form(("model", "dall-e-2"), ("n", "3"), ("size", "256x256"), audio=b"P", name="image")
    got = ask(proxy.port, request("/v1/images/variations", key=secret, headers=FORM, body=body))
    assert kept(proxy, got).used == Counter({("images", "standard/256x256"): 3})


def test_errors_bill_nothing(scripted: ScriptedThread, proxy: ProxyProcess, secret: str) -> None:
    scripted.answers(steps(as_json({"error": {"message": "no"}}, 400)))
    for path in ("/v1/images/generations", "/v1/audio/speech", "/v1/moderations"):
        found = kept(proxy, send(proxy, secret, path, model="tts-1", input="Hello"))
        assert (found.row["state"], found.used) == ("failed", Counter())


def test_speech_in_tokens_that_are_not_reported_says_so(
    scripted: ScriptedThread, proxy: ProxyProcess, secret: str
) -> None:
    scripted.answers(steps(whole(200, b"\x00\xff", (("Content-Type", "audio/wav"),))))
    answer = send(proxy, secret, "/v1/audio/speech", model="gpt-4o-mini-tts", input="Hello")
    found = kept(proxy, answer)
    assert found.row["state"] == "estimated"
    assert "not reported" in found.row["notes"]
    assert found.used == Counter({("characters", ""): 5})


SPOKEN = {"audio": {"voice": "ash", "format": "pcm16"}, "modalities": ["text", "audio"]}
HEARD = {"type": "input_audio", "input_audio": {
    "data": base64.b64encode(wav(1.75)).decode(), "format": "wav"}}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_audio_that_is_not_reported_is_counted_by_its_length(
    scripted: ScriptedThread, proxy: ProxyProcess, secret: str, stream: bool
) -> None:
    pieces = [base64.b64encode(bytes(size)).decode() for size in (48_000, 48_001, 7_199)]
    whole = {"data": base64.b64encode(bytes(103_200)).decode(), "transcript": "Hello"}
    audios: list[dict[str, str]] = [{"transcript": "Hello"}, *({"data": data} for data in pieces)]
    chunks = [{"choices": [{"index": 0, "delta": {"audio": audio}}]} for audio in audios]
    message = {"choices": [{"index": 0, "message": {"content": None, "audio": whole}}]}
    scripted.answers(steps(as_events(*chunks, DONE) if stream else as_json(message)))
    answer = send(
        proxy, secret, CHAT, model="gpt-audio", stream=stream,
        messages=[{"role": "user", "content": [HEARD]}], **SPOKEN,
    )  # fmt: skip
    found = kept(proxy, answer)
    assert (found.row["state"], found.row["notes"]) == ("estimated", None)
    assert found.used == Counter({
        ("tokens", "input"): 3 + 1 + 3 + 4, ("tokens", "input_audio"): 17,
        ("tokens", "output"): 1, ("tokens", "output_audio"): 43,
    })  # fmt: skip


# Managed mode alone.


def test_a_response_is_made_not_to_be_stored(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(as_json({"model": "gpt-5", "usage": TOKENS})))
    send(managed, key, RESPONSES, model="gpt-5", input="Hi")
    assert scripted.received[0].body == b'{"model": "gpt-5", "input": "Hi","store":false}'


def test_a_compressed_response_request_is_guarded_too(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    import gzip  # noqa: PLC0415 - this test alone compresses

    scripted.answers(steps(as_json({"usage": TOKENS})))
    body = gzip.compress(b'{"model":"gpt-5"}')
    asked = request(RESPONSES, key=key, headers={"Content-Encoding": "gzip"}, body=body)
    assert ask(managed.port, asked).status == 200
    (received,) = scripted.received
    assert received.body == b'{"model":"gpt-5","store":false}'
    assert received.header("content-encoding") is None


@pytest.mark.parametrize(
    ("path", "members"),
    [
        (CHAT, {"store": True}),
        (CHAT, {"messages": [{"content": [{"file": {"file_id": "file-1"}}]}]}),
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"background": True, "previous_response_id": "resp_1"}),
        ("/v1/messages", {"container": "container_1"}),
        ("/v1/images/edits", {"images": [{"file_id": "file-1"}]}),
        ("/v1/audio/speech", {"voice": {"id": "voice_1"}}),
    ],
)
def test_stored_things_are_refused(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, path: str, members: dict[str, Any]
) -> None:
    scripted.answers(steps(as_json({})))
    answer = send(managed, key, path, model="m", **members)
    assert answer.status == 400
    assert "share one upstream account" in json.loads(answer.body)["error"]["message"]
    assert scripted.received == []


def test_forms_that_could_be_read_differently_are_refused(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(as_json({})))
    for body in (
        form(("model", "a"), ("model", "b"), audio=wav(1)),
        form(("model", "a"), audio=wav(1))[:-10],
        form(("model", "a"), ("image[file_id]", "file-1")),
    ):
        asked = request("/v1/audio/transcriptions", key=key, headers=FORM, body=body)
        assert ask(managed.port, asked).status == 400
    assert scripted.received == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/threads/runs"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/some/day/new"),
        ("GET", "/openai/files"),
        ("POST", "/v1/chat/completions/../files"),
    ],
)
def test_what_is_not_guarded_is_closed(
    scripted: ScriptedThread, managed: ProxyProcess, key: str, method: str, path: str
) -> None:
    scripted.answers(steps(as_json({})))
    answer = ask(managed.port, request(path, method=method, key=key, body=b"{}"))
    assert answer.status == 404
    message = json.loads(answer.body)["error"]["message"]
    assert "Open are POST /v1/chat/completions, POST /v1/completions," in message
    assert scripted.received == []


# Azure's clients.

DEPLOYED = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
CHAT_USAGE = {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}


def test_an_azure_client_in_passthrough(
    scripted: ScriptedThread, passthrough: ProxyProcess
) -> None:
    scripted.answers(steps(as_json(CHAT_USAGE)))
    asked = request(DEPLOYED, headers={"api-key": "azure-key"}, body=b'{"messages":[]}')
    found = kept(passthrough, ask(passthrough.port, asked))
    assert scripted.received[0].target == DEPLOYED
    assert scripted.received[0].header("api-key") == "azure-key"
    assert found.row["model_requested"] == "gpt-4o"
    assert found.used.total() == 5


def test_an_azure_client_before_another_upstream(
    scripted: ScriptedThread, managed: ProxyProcess, key: str
) -> None:
    scripted.answers(steps(as_json(CHAT_USAGE)))
    asked = request(DEPLOYED, headers={"api-key": key}, body=b'{"model":"gpt-4o"}')
    assert kept(managed, ask(managed.port, asked)).used.total() == 5
    assert scripted.received[0].path == CHAT
    asked = request(DEPLOYED, headers={"api-key": key}, body=b'{"model":"o1-pro"}')
    assert ask(managed.port, asked).status == 400


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?limit=2", "/v1/models/gpt-4o"])
def test_models_may_be_asked_for_by_their_head(
    scripted: ScriptedThread, proxy: ProxyProcess, key: str, path: str
) -> None:
    scripted.answers(steps(whole(200, b"")))
    with Client(proxy.port) as client:
        client.send(request(path, method="HEAD", key=key))
        answer = client.answer(method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert [(asked.method, asked.target) for asked in scripted.received] == [("HEAD", path)]
    assert kept(proxy, answer).row["endpoint"].startswith("models")
