"""What requests say of images, speech and audio."""

import base64
import json
from typing import Any

import pytest

from proxy.errors import BadRequestError
from proxy.wire.endpoints import ENDPOINTS
from proxy.wire.request import RequestFacts, read_facts
from proxy.wire.request_shape import FormReader, json_shape
from proxy.wire.usage import RequestShape, UsageReader
from tests.wire.audio_files import wav

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def shape(endpoint: str, **members: Any) -> RequestShape:
    body = json.dumps(members).encode()
    return json_shape(BY_NAME[endpoint], read_facts(body, strict=False), body)


def test_images() -> None:
    asked = shape("images.generations", model="dall-e-3", n=2, size="1024x1792", quality="hd")
    assert asked == RequestShape(model="dall-e-3", n=2, size="1024x1792", quality="hd")
    assert shape("images.generations", size=None, quality="", n=None).n == 1
    assert shape("images.generations", n=10**15).n == 10_000
    assert shape("images.generations", size=7, input="nothing spoken").size is None


def test_speech_is_counted_in_code_points() -> None:
    assert shape("audio.speech", model="tts-1", input="Grüße 🚚").input_characters == 7
    assert shape("audio.speech", input=["no text"]).input_characters == 0


def test_audio_in_json() -> None:
    audio = base64.b64encode(wav(1.5)).decode()
    assert shape("audio.transcriptions", input_audio={"data": audio}).audio_us == 1_500_000
    assert shape("audio.transcriptions", input_audio={"data": "é"}).audio_us is None
    assert shape("audio.transcriptions", input_audio={"data": "abc"}).audio_us is None
    assert shape("audio.transcriptions", input_audio="abc").audio_us is None


def test_what_is_no_json_has_no_shape() -> None:
    facts = RequestFacts(model="m")
    assert json_shape(BY_NAME["audio.speech"], facts, b"{") == RequestShape(model="m")


def form(*fields: tuple[str, bytes], audio: bytes | None = None) -> FormReader:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value)
        for name, value in fields
    ]
    if audio is not None:
        head = b'Content-Disposition: form-data; name="file"; filename="a.wav"'
        parts.append(b"--b\r\n%b\r\n\r\n%b\r\n" % (head, audio))
    reader = FormReader(b"b")
    reader.feed(b"".join(parts) + b"--b--\r\n")
    reader.finish()
    return reader


def test_forms() -> None:
    asked = form(("model", b"whisper-1"), ("stream", b"true"), audio=wav(2))
    asked.refuse_ambiguity()
    assert asked.facts() == RequestFacts(model="whisper-1", stream=True)
    assert asked.shape() == RequestShape(model="whisper-1", audio_us=2_000_000)
    image = form(("n", b"3"), ("size", b"256x256"), ("quality", b""))
    assert image.facts() == RequestFacts(n=3)
    assert image.shape() == RequestShape(n=3, size="256x256")
    assert form(("n", b"many")).facts().n is None


def test_forms_that_could_be_read_differently() -> None:
    with pytest.raises(BadRequestError, match="'model' twice"):
        form(("model", b"a"), ("model", b"b")).refuse_ambiguity()
    with pytest.raises(BadRequestError, match="name is missing"):
        form(('a"; name="b', b"")).refuse_ambiguity()
    form(("image[]", b"a"), ("image[]", b"b")).refuse_ambiguity()


def test_a_shape_may_come_late() -> None:
    reader = UsageReader(BY_NAME["audio.transcriptions"], RequestShape())
    reader.json(b'{"text": "Hi"}')
    assert reader.usage() is None
    reader.describe(RequestShape(model="whisper-1", audio_us=9))
    usage = reader.usage()
    assert usage is not None
    assert [quantity.quantity for quantity in usage.quantities] == [9]


def test_forms_that_refer() -> None:
    assert form(("image[0][file_id]", b"file-1"), ("model", b"m")).references() == [
        "image[0][file_id]"
    ]
