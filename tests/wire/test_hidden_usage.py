"""Usage that is taken out: until when, and what the option moved and is put back."""

import pytest

from proxy.wire import answer
from proxy.wire.answer import BodyMeter, PassMeter, StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.usage import RequestShape, UsageReader
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


FINISH = b'data: {"choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]%b}\n\n'
FINGERPRINT = b',"system_fingerprint":"v1"'
MOVED = b'data: {"choices":[]%b,"usage":{"prompt_tokens":1}}\n\n' % FINGERPRINT


def metered(*, hide: bool = True) -> StreamMeter:
    usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    return StreamMeter(CHAT_COMPLETIONS, usage, AnswerReader(), hide=hide)


def test_a_finish_chunk_waits_for_the_next_frame_and_nothing_else_does() -> None:
    meter = metered()
    content = PLAIN % NULL, PLAIN % b"", False
    steps = [
        content,
        content,
        (FINISH % (0, NULL), b"", True),
        (MOVED[:20], b"", True),
        (MOVED[20:], FINISH % (0, FINGERPRINT), False),
        content,
        (END, b"", False),
    ]
    for piece, passed, waits in steps:
        assert (meter.feed(piece), meter.waits) == (passed, waits)
    assert meter.take_held() == END


@pytest.mark.parametrize("other", [PLAIN % NULL, b": keep-alive\n\n", FINISH % (1, b',"error":1')])
def test_what_comes_instead_of_usage_takes_it_along(other: bytes) -> None:
    meter = metered()
    assert meter.feed(PLAIN % NULL + FINISH % (0, b"")) == PLAIN % b""
    passed = meter.feed(other) + meter.take_waiting()
    assert passed == FINISH % (0, b"") + other.replace(NULL, b"")
    assert meter.feed(PLAIN % NULL) == PLAIN % b""
    assert meter.feed(END) == b""


def test_the_end_takes_it_along_before_the_settlement() -> None:
    meter = metered()
    assert meter.feed(FINISH % (0, b"")) == b""
    assert meter.feed(END) == FINISH % (0, b"")
    assert not meter.waits
    meter = metered()
    assert meter.feed(FINISH % (0, b"") + b"data: {") == b""
    meter.finish()
    assert meter.take_waiting() == FINISH % (0, b"")
    assert meter.take_held() == b"data: {"
    meter = metered()
    assert meter.feed(FINISH % (0, b"") + MOVED[:-2]) == b""
    meter.finish()
    assert meter.take_waiting() == FINISH % (0, FINGERPRINT)
    assert meter.take_held() == b""


def test_given_up_it_is_not_given_out_again() -> None:
    meter = metered()
    assert meter.feed(FINISH % (0, b"")) == b""
    assert meter.take_waiting() == FINISH % (0, b"")
    assert meter.take_waiting() == b""
    assert meter.feed(MOVED) == b""
    assert meter.feed(END) == b""
    assert meter.take_held() == END


def test_of_several_choices_those_that_finish_last_get_it_back() -> None:
    body = (
        PLAIN % b""
        + FINISH % (0, b"")
        + PLAIN % b""
        + FINISH % (1, b"")
        + FINISH % (2, b"")
        + MOVED
        + END
    )
    stamped = FINISH % (1, FINGERPRINT) + FINISH % (2, FINGERPRINT)
    expected = PLAIN % b"" + FINISH % (0, b"") + PLAIN % b"" + stamped + END
    for pieces in [[body], *halves(body), [bytes([byte]) for byte in body]]:
        assert cross(pieces, hide=True).whole == expected


def test_no_more_wait_than_are_bounded() -> None:
    meter = metered()
    frames = [FINISH % (index, b"") for index in range(answer.MAX_WAITING + 1)]
    passed = [meter.feed(frame) for frame in frames]
    assert passed == [b""] * answer.MAX_WAITING + [b"".join(frames)]
    assert not meter.waits


@pytest.mark.parametrize("shown", [b',"system_fingerprint":"v1"', b',"system_fingerprint":"fp_1"'])
def test_a_fingerprint_that_was_there_from_the_start_has_not_moved(shown: bytes) -> None:
    body = PLAIN % shown + FINISH % (0, b"") + MOVED + END
    assert cross([body], hide=True).whole == PLAIN % shown + FINISH % (0, b"") + END
    openai = FINISH % (0, shown)
    assert metered().feed(openai) == (openai if b"fp_" in shown else b"")
    assert metered(hide=False).feed(FINISH % (0, b"")) == FINISH % (0, b"")


def test_nothing_waits_in_other_answers() -> None:
    usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    assert PassMeter().take_waiting() == b""
    assert BodyMeter(usage, AnswerReader(), None).take_waiting() == b""
    assert not any((PassMeter.waits, BodyMeter.waits))
