"""Usage that is taken out, and until when."""

import pytest

from tests.wire.streams import DONE, cross, halves
from tests.wire.test_answer import encoded

PLAIN = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]%b}\n\n'
NULL = b',"usage":null'
ADDED = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
RUNNING = PLAIN % b',"usage":{"prompt_tokens":1}'
END = DONE + b"\n\n"


def test_once_usage_runs_beside_choices_nothing_is_hidden() -> None:
    silent, null = PLAIN % b"", PLAIN % NULL
    for own in (RUNNING + ADDED, RUNNING + null + null + ADDED, RUNNING * 2 + ADDED + null):
        body = null + null + own + END
        for pieces in [[body], *halves(body), [bytes([byte]) for byte in body]]:
            assert cross(pieces, hide=True).whole == silent + silent + own + END


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "raw"])
def test_what_came_plain_once_stays_plain(encoding: str) -> None:
    body = PLAIN % NULL + RUNNING + RUNNING + ADDED
    data, _ = encoded(body, encoding)
    for at in range(len(data) + 1):
        _, decoder = encoded(b"", encoding)
        crossed = cross([data[:at], data[at:]], hide=True, decoder=decoder)
        assert crossed.whole == PLAIN % b"" + RUNNING + RUNNING + ADDED
    _, decoder = encoded(b"", encoding)
    data, _ = encoded(RUNNING + ADDED[:-1], encoding)
    crossed = cross([bytes([byte]) for byte in data], hide=True, decoder=decoder)
    assert crossed.held == ADDED[:-1]


@pytest.mark.parametrize(
    "beside",
    [
        # Groq's finish chunk: its usage is there unasked, the chunk without choices is not.
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}',
        b'"choices":[{"index":0,"delta":{"content":"x"}}],"x_groq":{"usage":{"prompt_tokens":1}}',
        b'"choices":[{"index":0,"delta":{},"usage":{"prompt_tokens":1}}]',
        b'"choices":null,"usage":{"prompt_tokens":1}',
        b'"usage":{"prompt_tokens":1}',
    ],
)
def test_other_usage_is_no_reason_to_show_the_chunk_that_was_added(beside: bytes) -> None:
    frame = b"data: {%b}\n\n" % beside
    assert cross([frame + ADDED + END], hide=True).whole == frame + END
