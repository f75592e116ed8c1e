"""What must be known of a request to meter its answer, where that is not in the answer.

Images by number, size and quality; speech by its characters; transcriptions by the length of
the audio. Chat needs none of it.
"""

from typing import Any, Final

import msgspec

from proxy.errors import BadRequestError
from proxy.wire.audio_length import length_us
from proxy.wire.endpoints import Endpoint, Metering
from proxy.wire.inline_audio import inline_sample
from proxy.wire.multipart import MultipartReader
from proxy.wire.request import RequestFacts
from proxy.wire.usage import RequestShape

AUDIO_FIELD: Final = "file"
"""The form field of OpenAI's transcriptions and translations that is the audio."""

SHAPED: Final = frozenset({Metering.IMAGES, Metering.SPEECH, Metering.AUDIO})
"""How endpoints are metered whose requests have more to tell than the model's name."""

_DECISIVE: Final = ("model", "n", "size", "quality", "stream", "response_format")
_MOST_IMAGES: Final = 10_000


class _Members(msgspec.Struct, gc=False):
    size: Any = None
    quality: Any = None
    input: Any = None
    input_audio: Any = None


_members = msgspec.json.Decoder(_Members)


def json_shape(endpoint: Endpoint, facts: RequestFacts, body: bytes) -> RequestShape:
    """Read the shape of a request whose body is JSON."""
    try:
        found = _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RequestShape(model=facts.model)
    spoken = endpoint.metering is Metering.SPEECH and isinstance(found.input, str)
    return RequestShape(
        model=facts.model,
        n=_count(facts.n),
        size=_word(found.size),
        quality=_word(found.quality),
        input_characters=len(found.input) if spoken else 0,
        audio_us=_inline_audio_us(found.input_audio),
    )


class FormReader:
    """Reads a form as it passes: ``feed`` it, ``finish``, then ask for facts and shape."""

    def __init__(self, boundary: bytes) -> None:
        self._form = MultipartReader(boundary, sampled=AUDIO_FIELD)

    def feed(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._form.feed(data)

    def finish(self) -> None:
        """The body is over."""
        self._form.finish()

    def facts(self) -> RequestFacts:
        """Return what a JSON body would have said."""
        return RequestFacts(
            model=self._field("model") or "",
            stream=(self._field("stream") or "").lower() in {"true", "1"},
            n=self._number("n"),
        )

    def shape(self) -> RequestShape:
        """Return the request's shape, the audio's length read from its header."""
        audio = self._form.sample()
        return RequestShape(
            model=self._field("model") or "",
            n=_count(self._number("n")),
            size=self._field("size"),
            quality=self._field("quality"),
            audio_us=None if audio is None else length_us(audio),
        )

    def refuse_ambiguity(self) -> None:
        """Raise BadRequestError for a form that two parsers could read differently."""
        flaw = self._form.flaw
        names = [part.name for part in self._form.parts]
        twice = next((name for name in _DECISIVE if names.count(name) > 1), None)
        if twice is not None:
            flaw = f"it has the field {twice!r} twice"
        if flaw is not None:
            raise BadRequestError(
                f"The form in the request body can't be read: {flaw}. Send multipart/form-data as "
                "RFC 7578 has it, each field once."
            )

    def references(self) -> list[str]:
        """Return the names of the fields that refer to something stored at the upstream."""
        return [part.name for part in self._form.parts if "file_id" in part.name]

    def _field(self, name: str) -> str | None:
        values = self._form.fields(name)
        return values[-1] or None if values else None

    def _number(self, name: str) -> int | None:
        text = self._field(name) or ""
        return int(text) if text.isdecimal() and len(text) < 10 else None


def _count(n: int | None) -> int:
    return 1 if n is None else min(n, _MOST_IMAGES)


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _inline_audio_us(audio: object) -> int | None:
    """Measure audio that is in the JSON itself (OpenRouter's transcriptions)."""
    data = audio.get("data") if isinstance(audio, dict) else None
    if not isinstance(data, str):
        return None
    sample = inline_sample(data)
    return None if sample is None else length_us(sample)
