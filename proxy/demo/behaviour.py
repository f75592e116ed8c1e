"""What a request may ask of the scripted upstream, in words.

The words stand in the header ``x-demo-script`` (``cached=100, no-usage``) or in the model's name
after ``demo-`` (``demo-cached=100+no-usage``). ``name=value`` sets a field of
:class:`Behaviour`; a bare name turns a flag on; ``no-`` before it turns it off.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

HEADER = "x-demo-script"
MODEL_PREFIX = "demo-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a request is answered. Token counts are what the truth will hold; -1: as it comes."""

    prompt: int = -1
    completion: int = -1
    cached: int = 0
    reasoning: int = 0
    tier: str = "default"
    model: str = ""
    """The model that the answer names, if not the one that was asked for."""
    status: int = 200
    usage: bool = True
    """Whether usage is reported where it is due."""
    usage_everywhere: bool = False
    """Running usage on every chunk, and a last chunk of it, whether it was asked for or not."""
    moves: bool = False
    """The fingerprint on finish chunks alone, or else on the usage chunk alone, as vLLM has it."""
    timings: bool = False
    """Timings on the last chunk, whichever that is, as llama.cpp has them."""
    options: bool = True
    """Whether ``stream_options`` is known, or refused with 400."""
    compress: bool = True
    """Whether answers are compressed for clients that accept it."""
    pieces: int = 5
    """How many chunks of text an answer has."""
    latency: float = 0.0
    """Seconds until the answer begins."""
    gap: float = 0.0
    """Seconds between its chunks."""
    die_after: int = -1
    """Break the connection after so many chunks."""
    hang_after: int = -1
    """Fall silent after so many chunks."""
    error_after: int = -1
    """Send an error event after so many chunks, and end."""


_TYPES: dict[str, type[bool | int | float | str]] = {
    field.name: type(getattr(Behaviour(), field.name)) for field in fields(Behaviour)
}


def behaviour(script: str | None, model: str) -> Behaviour:
    """Read the words of a request; ``ValueError`` says which is unknown."""
    words = [word for word in (script or "").split(",") if word.strip()]
    if model.startswith(MODEL_PREFIX):
        words += model.removeprefix(MODEL_PREFIX).split("+")
    return replace(Behaviour(), **dict(_setting(word.strip()) for word in words))


def _setting(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    field = name.replace("-", "_")
    off = field.removeprefix("no_")
    if off != field and _TYPES.get(off) is bool:
        return off, False
    if field not in _TYPES or (not equals and _TYPES[field] is not bool):
        raise ValueError(f"the scripted upstream does not know {word!r}")
    return field, True if not equals else _TYPES[field](value)
