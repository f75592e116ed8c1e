"""What must be known of a request to understand the usage of its answer."""

import msgspec


class RequestShape(msgspec.Struct, frozen=True, kw_only=True):
    """The request, as far as usage depends on it.

    ``n``, ``size`` and ``quality`` are of image requests; ``input_characters`` is the length of
    the text to be spoken, in Unicode code points; ``audio_us`` the length of the audio sent, in
    microseconds, None if it could not be told. ``is_batch``: a line of a batch, at its tier.
    """

    model: str = ""
    n: int = 1
    size: str | None = None
    quality: str | None = None
    input_characters: int = 0
    audio_us: int | None = None
    is_batch: bool = False
