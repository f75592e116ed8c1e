"""Audio in a chat, heard and spoken, by its length.

Measured at OpenAI: ten tokens a second that is heard, and four of text around each part; twenty a
second that is spoken, beside the text. A token is begun only when it is full.
"""

from typing import Final

from proxy.core.times import SECOND_US
from proxy.tokens.json_shape import members, text
from proxy.wire.audio_length import length_us
from proxy.wire.bounds import LEAST_AUDIO_BYTES_PER_SECOND
from proxy.wire.inline_audio import Speech, inline_sample

AROUND_HEARD: Final = 4
"""Tokens of text that go with a part that is heard."""

_HEARD_US: Final = SECOND_US // 10
_SPOKEN_US: Final = SECOND_US // 20
_PCM16: Final = "pcm16"
_PCM16_BYTES_PER_SECOND: Final = 2 * 24_000


def heard_tokens(input_audio: object) -> int | None:
    """Give the audio tokens of an ``input_audio``; None where its length can't be told.

    A length that its bytes can't hold is a mistake of its header's, and would cost a fortune.
    """
    sample = inline_sample(text(members(input_audio).get("data")))
    if sample is None:
        return None
    longest = sample.size * SECOND_US // LEAST_AUDIO_BYTES_PER_SECOND
    length = length_us(sample)
    return None if length is None or length > longest else length // _HEARD_US


def spoken_tokens(speech: Speech, request: dict[str, object]) -> int | None:
    """Give the audio tokens of what was spoken; None where its length can't be told.

    Raw samples say nothing of themselves: it is the request that asked for them.
    """
    if members(request.get("audio")).get("format") == _PCM16 and speech.size:
        return speech.size * SECOND_US // _PCM16_BYTES_PER_SECOND // _SPOKEN_US
    return None if speech.length_us is None else speech.length_us // _SPOKEN_US
