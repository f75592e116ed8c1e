"""What is billed by something else than tokens: images, seconds of audio, characters.

They come from the answer where it tells, otherwise from the request.
"""

from typing import Final

from proxy.core.usage import ATOMS_PER_SECOND, Metric, Quantity
from proxy.wire.usage import notes
from proxy.wire.usage.finding import Envelope, length_of, text_of
from proxy.wire.usage.shape import RequestShape
from proxy.wire.usage.vocabulary import MOST

_DEFAULT_KIND: Final = ("standard", "1024x1024")
"""DALL·E's quality and size where neither request nor answer names them."""


def images(answer: Envelope | None, request: RequestShape) -> list[Quantity]:
    """Count the images of an answer, by quality and size.

    ``type`` is ``"{quality}/{size}"``, by the answer's words, else by the request's.
    """
    number = length_of(answer.data) if answer is not None else None
    quality = (answer and text_of(answer.quality)) or request.quality
    size = (answer and text_of(answer.size)) or request.size
    kind = f"{quality or _DEFAULT_KIND[0]}/{size or _DEFAULT_KIND[1]}"
    return _quantity(Metric.IMAGES, kind, request.n if number is None else number)


def seconds(
    reported: object, answer: Envelope | None, request: RequestShape, flaws: dict[str, None]
) -> list[Quantity]:
    """Measure audio: the usage's seconds, else the answer's ``duration``, else the request's."""
    microseconds = _microseconds(reported)
    if microseconds is None and answer is not None:
        microseconds = _microseconds(answer.duration)
    if microseconds is None and request.audio_us is not None:
        microseconds = request.audio_us
        flaws[notes.SECONDS_NOT_REPORTED] = None
    return _quantity(Metric.AUDIO_SECONDS, "", microseconds or 0)


def _microseconds(value: object) -> int | None:
    """Read seconds (``4``, ``3.7``, ``"3.7"`` of older answers)."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
        return None
    return round(value * ATOMS_PER_SECOND)


def characters(request: RequestShape) -> list[Quantity]:
    """Count the characters that a speech request asked to be spoken."""
    return _quantity(Metric.CHARACTERS, "", request.input_characters)


def _quantity(metric: Metric, kind: str, number: int) -> list[Quantity]:
    return [Quantity(metric=metric, type=kind, quantity=number)] if number > 0 else []
