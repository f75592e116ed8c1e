"""Reading a batch's output file: by whom its batch is asked about, streamed and bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from proxy.errors import ProxyError
from proxy.http.fetch import TooLargeError, download
from proxy.metering.classifying import Classifier
from proxy.metering.upstreams import Upstream
from proxy.wire.batch_lines import BatchLines, OutputFile
from proxy.wire.decoding import Decoder, decoder_for, is_encoded
from proxy.wire.deferred import is_object_id
from proxy.wire.headers import AnswerHead

FILE_BYTES_MAX: Final = 4 << 30
TIMEOUT_S: Final = 1800.0
_PASSING: Final = frozenset({408, 409, 425, 429})
"""Refusals that may not be there when asked again, as those of 500 and above."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file could not be read; ``passing``: it may be readable later.

    ``missing``: it is refused, as it may be for a moment where it was just made.
    """

    why: str
    passing: bool = False
    missing: bool = False


async def read_output(
    upstream: Upstream, head: bytes, file: OutputFile, classifier: Classifier
) -> BatchLines | Unreadable:
    """Read an output file by the request ``head``."""
    lines = BatchLines(
        file.endpoint, lambda model, tokens: classifier.context_class(model, "", tokens)
    )
    if not is_object_id(file.file_id):
        return Unreadable("the output file's id can't be asked for")
    decoder: Decoder | None = None

    def begin(answer: AnswerHead) -> Callable[[bytes], None] | None:
        nonlocal decoder
        if answer.status != 200:
            return None
        encoding = answer.fields.get(b"content-encoding", b"")
        if not is_encoded(encoding):
            return lines.feed
        decoder = found = decoder_for(encoding, FILE_BYTES_MAX)
        return None if found is None else lambda data: lines.feed(found.feed(data))

    try:
        answer = await download(
            upstream.pool, head, begin, limit=FILE_BYTES_MAX, timeout_s=TIMEOUT_S
        )
    except TooLargeError:
        return Unreadable(f"the output file has over {FILE_BYTES_MAX:,} bytes")
    except (ProxyError, TimeoutError):
        return Unreadable("the output file could not be fetched", passing=True)
    if answer.status != 200:
        passing = answer.status >= 500 or answer.status in _PASSING
        why = f"the output file was answered with {answer.status}"
        return Unreadable(why, passing=passing, missing=not passing)
    lines.finish()
    whole = decoder is None or decoder.whole
    if whole and lines.lines:
        return lines
    return Unreadable(
        "the output file has no lines of a batch" if whole else "the output file can't be decoded"
    )
