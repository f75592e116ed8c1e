"""WebSockets: the usage of each message, the right model, an id of its own."""

import json
from typing import Any

from proxy.core.usage import Metric
from proxy.wire.usage import RequestShape, SessionReader, SessionUsage

DETAILS = {
    "text_tokens": 119,
    "audio_tokens": 60,
    "image_tokens": 11,
    "cached_tokens": 90,
    "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 20, "image_tokens": 6},
}
DONE = {
    "type": "response.done",
    "event_id": "event_9",
    "response": {
        "object": "realtime.response",
        "id": "resp_9",
        "status": "completed",
        "usage": {
            "total_tokens": 310,
            "input_tokens": 190,
            "output_tokens": 120,
            "input_token_details": DETAILS,
            "output_token_details": {"text_tokens": 30, "audio_tokens": 90},
        },
    },
}


def read(session: SessionReader, message: dict[str, Any]) -> SessionUsage | None:
    return session.message(json.dumps(message).encode())


def quantities(found: SessionUsage | None) -> dict[str, int]:
    assert found is not None
    return {f"{q.metric} {q.type}".strip(): q.quantity for q in found.usage.quantities}


def test_realtime_answer_split_by_modality_and_cache() -> None:
    found = read(SessionReader(RequestShape(model="gpt-realtime")), DONE)
    assert quantities(found) == {
        "tokens input": 55,
        "tokens cached_input": 64,
        "tokens input_audio": 40,
        "tokens cached_input_audio": 20,
        "tokens input_image": 5,
        "tokens cached_input_image": 6,
        "tokens output": 30,
        "tokens output_audio": 90,
    }
    assert found is not None
    assert (found.id, found.usage.model, found.usage.notes) == ("resp_9", "gpt-realtime", ())
    assert json.loads(found.raw) == DONE["response"]["usage"]  # type: ignore[index]


def test_cancelled_answer_without_usage() -> None:
    message = {"type": "response.done", "response": {"status": "cancelled", "usage": None}}
    assert read(SessionReader(RequestShape()), message) is None


def test_transcription_is_billed_as_its_own_model() -> None:
    session = SessionReader(RequestShape(model="gpt-realtime"))
    update = {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}}
    assert read(session, {"type": "session.updated", "session": update}) is None
    completed = {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "item_3",
        "transcript": "Hi",
        "usage": {
            "type": "tokens",
            "total_tokens": 26,
            "input_tokens": 17,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 17},
            "output_tokens": 9,
        },
    }
    found = read(session, completed)
    assert quantities(found) == {"tokens input_audio": 17, "tokens output": 9}
    assert found is not None
    assert found.id == "item_3.transcription"
    assert {each.model for each in found.usage.quantities} == {"gpt-4o-transcribe"}


def test_transcription_by_duration_in_an_older_session() -> None:
    session = SessionReader(RequestShape(model="gpt-4o-realtime-preview"))
    settings = {"model": "gpt-4o-realtime", "input_audio_transcription": {"model": "whisper-1"}}
    read(session, {"type": "session.created", "session": settings})
    completed = {
        "type": "conversation.item.input_audio_transcription.completed",
        "usage": {"type": "duration", "seconds": 2.5},
    }
    found = read(session, completed)
    assert quantities(found) == {str(Metric.AUDIO_SECONDS): 2_500_000}
    assert found is not None
    assert [each.model for each in found.usage.quantities] == ["whisper-1"]
    again = read(session, DONE)
    assert again is not None
    assert again.usage.model == "gpt-4o-realtime"


def test_transcription_by_a_model_that_nobody_named_is_not_the_session_s() -> None:
    session = SessionReader(RequestShape(model="gpt-realtime"))
    completed = {
        "type": "conversation.item.input_audio_transcription.completed",
        "usage": {"type": "duration", "seconds": 1},
    }
    found = read(session, completed)
    assert found is not None
    assert [each.model for each in found.usage.quantities] == ["input_audio_transcription"]


def test_transcription_without_usage() -> None:
    message = {
        "type": "conversation.item.input_audio_transcription.completed",
        "usage": None,
        "session": None,
    }
    assert read(SessionReader(RequestShape()), message) is None


def test_responses_socket_answers_each_by_its_own_id() -> None:
    session = SessionReader(RequestShape())
    for number in range(3):
        response = {
            "id": f"resp_{number}",
            "model": "gpt-5",
            "usage": {"input_tokens": 10, "output_tokens": number + 1, "total_tokens": number + 11},
        }
        message = {"type": "response.completed", "stream_id": "a", "response": response}
        found = read(session, message)
        assert found is not None
        assert (found.id, found.usage.tokens, found.usage.model) == (
            f"resp_{number}",
            number + 11,
            "gpt-5",
        )


def test_other_messages_say_nothing() -> None:
    session = SessionReader(RequestShape())
    assert session.message(b'{"type":"response.output_audio.delta","delta":"aGk="}') is None
    assert session.message(b'{"usage":') is None
    assert session.message(b'{"usage":{"input_tokens":3}}') is None
    assert session.message(b'{"type":"rate_limits.updated","usage":{"input_tokens":3}}') is None
    assert session.message(b'{"type":"session.updated","session":{"model":""}}') is None
