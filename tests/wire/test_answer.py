"""What crosses the meters: byte for byte, wherever it is cut, and held where it completes."""

import gzip
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.usage import RequestState
from proxy.metering.outcome import Outcome, measure
from proxy.wire import answer
from proxy.wire.answer import BodyMeter, PassMeter, StreamMeter
from proxy.wire.answers import TRUNCATED, AnswerReader
from proxy.wire.decoding import Decoder, decoder_for
from proxy.wire.endpoints import (
    CHAT_COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Endpoint,
    endpoint_for,
)
from proxy.wire.usage import RequestShape, UsageReader, notes
from tests.wire.streams import DIALECTS, DONE, Dialect, cross, cut, halves

named = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
places = st.lists(st.integers(0, 1 << 16), max_size=12)
pieces_of_streams = st.lists(
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data: ",
            b"data:",
            DONE + b"\n\n",
            b'{"choices":[],"usage":null}',
            b'{"choices":[],"usage":{"prompt_tokens":1}}',
            b": comment",
            b"event: error",
            b"\xef\xbb\xbf",
            b"\xff\x00",
        ]
    ),
    max_size=30,
)


def encoded(body: bytes, encoding: str) -> tuple[bytes, Decoder]:
    """Compress, and return what undoes it."""
    if encoding == "gzip":
        data = gzip.compress(body, mtime=0)
    elif encoding == "zlib":
        data = zlib.compress(body)
    else:
        data = zlib.compress(body, wbits=-zlib.MAX_WBITS)
    decoder = decoder_for(b"gzip" if encoding == "gzip" else b"deflate")
    assert decoder is not None
    return data, decoder


@named
def test_hidden_usage_leaves_what_would_have_come_without(dialect: Dialect) -> None:
    asked, expected = dialect.body(asked=True), dialect.body(asked=False)
    for pieces in [[asked], *halves(asked), [bytes([byte]) for byte in asked]]:
        crossed = cross(pieces, hide=True)
        assert crossed.whole == expected
        assert DONE not in crossed.passed
        usage = crossed.usage.usage()
        assert usage is not None
        assert usage.tokens == 12


@named
@given(at=places)
@settings(max_examples=20)
def test_hidden_usage_at_random_cuts(dialect: Dialect, at: list[int]) -> None:
    pieces = cut(dialect.body(asked=True), at)
    assert cross(pieces, hide=True).whole == dialect.body(asked=False)


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "raw"])
@named
def test_hidden_usage_in_a_compressed_answer(dialect: Dialect, encoding: str) -> None:
    size = len(encoded(dialect.body(asked=True), encoding)[0])
    for at in range(size + 1):
        data, decoder = encoded(dialect.body(asked=True), encoding)
        crossed = cross([data[:at], data[at:]], hide=True, decoder=decoder)
        assert crossed.whole == dialect.body(asked=False)
        assert DONE not in crossed.passed


@pytest.mark.parametrize("asked", [True, False])
@named
def test_nothing_is_changed_where_nothing_is_hidden(dialect: Dialect, asked: bool) -> None:
    body = dialect.body(asked=asked)
    for pieces in [[body], *halves(body), [bytes([byte]) for byte in body]]:
        crossed = cross(pieces)
        assert crossed.whole == body
        assert crossed.meter.completed == bool(dialect.done)
        assert (crossed.usage.usage() is not None) == asked


@given(fragments=pieces_of_streams, at=places)
def test_anything_passes_unchanged(fragments: list[bytes], at: list[int]) -> None:
    body = b"".join(fragments)
    crossed = cross(cut(body, at))
    assert crossed.whole == body


@given(fragments=pieces_of_streams, at=places)
def test_the_cut_does_not_decide_what_is_hidden(fragments: list[bytes], at: list[int]) -> None:
    body = b"".join(fragments)
    assert cross(cut(body, at), hide=True).whole == cross([body], hide=True).whole


@given(fragments=pieces_of_streams, at=places, encoding=st.sampled_from(["gzip", "zlib", "raw"]))
def test_compressed_bytes_pass_unchanged(
    fragments: list[bytes], at: list[int], encoding: str
) -> None:
    data, decoder = encoded(b"".join(fragments), encoding)
    crossed = cross(cut(data, at), decoder=decoder)
    assert crossed.whole == data


@named
def test_a_compressed_completing_event_is_held(dialect: Dialect) -> None:
    data, _ = encoded(dialect.body(asked=True), "gzip")
    for at in range(len(data) + 1):
        _, decoder = encoded(b"", "gzip")
        crossed = cross([data[:at], data[at:]], decoder=decoder)
        assert crossed.whole == data
        assert crossed.usage.usage() is not None
        plain = zlib.decompressobj(31).decompress(crossed.passed)
        if dialect.tail not in {b"", b"\n\r"}:  # there it is the body's end that completes it
            assert DONE + dialect.tail not in plain


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
        b'{"choices":[{"delta":{}}],"x_groq":{"usage":{"prompt_tokens":1,"queue_time":1}}}',
        b'{"choices":[{"delta":{"usage":null}}]}',
        b'{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"usage":null}}',
        b'{"usage":{"prompt_tokens":1}}',
        b'{"choices":null,"usage":{"prompt_tokens":1}}',
        b'{"choices":[],"x":{"usage":null}}',
        b'{"choices":[],"usage"',
        b'["usage",null]',
        b'"usage":null',
    ],
)
def test_what_the_option_did_not_add_stays(chunk: bytes) -> None:
    body = b"data: " + chunk + b"\n\n" + DONE + b"\n\n"
    assert cross([body], hide=True).whole == body


COMPLETING = [
    (CHAT_COMPLETIONS, b"data: [DONE]\n\n"),
    (CHAT_COMPLETIONS, b"data:[DONE]\r\n\r\n"),
    (RESPONSES, b'event: response.completed\ndata: {"response":{}}\n\n'),
    (RESPONSES, b'data: {"type":"response.completed","response":{}}\n\n'),
    (RESPONSES, b'data: {"type": "response.incomplete"}\r\n\r\n'),
    (RESPONSES, b'event: response.failed\ndata: {"type":"response.failed"}\n\n'),
    (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    (MESSAGES, b'data: {"type":"message_stop"}\n\n'),
    (MESSAGES, b'event: error\ndata: {"type":"error"}\n\n'),
]
AFTER = b'data: {"type":"ping"}\n\nevent: ping\ndata: {}\n\n: bye\n\ndata: not who'


@pytest.mark.parametrize(("endpoint", "event"), COMPLETING)
@pytest.mark.parametrize("hide", [True, False])
def test_the_completing_event_and_all_after_it_is_held(
    endpoint: Endpoint, event: bytes, hide: bool
) -> None:
    before = b'data: {"type":"x","delta":"y"}\n\n'
    body = before + event + AFTER
    for pieces in [[body], *halves(body), [bytes([byte]) for byte in body]]:
        crossed = cross(pieces, endpoint=endpoint, hide=hide)
        assert crossed.meter.completed
        assert crossed.passed == before
        assert crossed.held == event + AFTER


@pytest.mark.parametrize(("endpoint", "event"), COMPLETING)
@pytest.mark.parametrize("hide", [True, False])
def test_what_comes_after_a_compressed_completing_event_changes_nothing(
    endpoint: Endpoint, event: bytes, hide: bool
) -> None:
    body = b"data: {}\n\n" + event + AFTER
    data = gzip.compress(body, mtime=0)
    for pieces in ([data], [bytes([byte]) for byte in data]):
        decoder = decoder_for(b"gzip")
        crossed = cross(pieces, endpoint=endpoint, hide=hide, decoder=decoder)
        assert crossed.meter.completed
        assert crossed.whole == (body if hide else data)


def test_what_is_held_is_given_out_once_and_then_as_it_comes() -> None:
    meter = StreamMeter(
        CHAT_COMPLETIONS,
        UsageReader(CHAT_COMPLETIONS, RequestShape(model="m")),
        AnswerReader(),
        hide=False,
    )
    assert meter.feed(DONE + b"\n\n: be") == b""
    assert meter.take_held() == DONE + b"\n\n: be"
    assert meter.take_held() == b""
    assert meter.feed(b"fore") == b""
    assert meter.take_held() == b"fore"
    meter.finish()
    assert meter.take_held() == b""


def test_an_answer_that_ends_in_the_middle_of_a_frame_is_read_and_relayed() -> None:
    rest = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1}}'
    crossed = cross([rest])
    assert crossed.held == rest
    usage = crossed.usage.usage()
    assert usage is not None
    assert usage.tokens == 3
    assert cross([rest], hide=True).held == b""
    assert cross([rest[:-1]], hide=True).held == rest[:-1]
    null = b'data: {"choices":[{}],"usage":null}'
    assert cross([null], hide=True).held == b'data: {"choices":[{}]}'


def text(crossed_answers: AnswerReader) -> str:
    return "".join(choice.content for choice in crossed_answers.answer().choices)


def test_an_interrupted_answer_is_read_as_far_as_it_came() -> None:
    answers = AnswerReader()
    usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    meter = StreamMeter(CHAT_COMPLETIONS, usage, answers, hide=False)
    meter.feed(b'data: {"choices":[{"index":0,"delta":{"content":"so f"}}]}\n\ndata: {"choi')
    assert text(answers) == "so f"


BODY = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"content": "hi"}}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }
).encode()


def body_meter(decoder: Decoder | None) -> tuple[BodyMeter, UsageReader, AnswerReader]:
    usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    answers = AnswerReader()
    return BodyMeter(usage, answers, decoder), usage, answers


@pytest.mark.parametrize("encoding", ["", "gzip", "zlib", "raw"])
def test_a_body_passes_unchanged_and_is_read_at_its_end(encoding: str) -> None:
    size = len(encoded(BODY, encoding)[0] if encoding else BODY)
    for at in range(size + 1):
        data, decoder = encoded(BODY, encoding) if encoding else (BODY, None)
        meter, usage, answers = body_meter(decoder)
        assert meter.feed(data[:at]) + meter.feed(data[at:]) == data
        assert usage.usage() is None
        meter.finish()
        assert meter.take_held() == b""
        assert not meter.completed
        found = usage.usage()
        assert found is not None
        assert found.tokens == 3
        assert text(answers) == ""


def test_a_body_without_usage_is_read_for_its_text() -> None:
    meter, usage, answers = body_meter(None)
    meter.feed(b'\n\n {"choices":[{"message":{"content":"hi"}}],"usage":null}')
    meter.finish()
    assert usage.usage() is None
    assert text(answers) == "hi"


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"no json", mtime=0), gzip.compress(BODY, mtime=0)[:-30]],
)
def test_a_body_that_makes_no_sense_passes(data: bytes) -> None:
    meter, usage, answers = body_meter(decoder_for(b"gzip"))
    assert meter.feed(data) == data
    meter.finish()
    assert usage.usage() is None
    assert text(answers) == ""


def test_of_a_body_over_the_bound_the_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MAX_BODY_BYTES", 100)
    monkeypatch.setattr(answer, "END_BYTES", 60)
    body = b'{"model":"m","choices":["' + b"x" * 300 + b'"],' + BODY[BODY.index(b'"usage"') :]
    for size in (1, 7, 59, 60, 61, 400):
        meter, usage, answers = body_meter(None)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert b"".join(meter.feed(piece) for piece in pieces) == body
        assert sum(map(len, meter._pieces)) == 60
        meter.finish()
        found = usage.usage()
        assert found is not None
        assert (found.tokens, found.notes) == (3, (notes.END_READ,))
        assert (text(answers), answers.answer().notes) == ("", (TRUNCATED,))


def test_of_a_body_over_the_bound_the_end_may_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MAX_BODY_BYTES", len(BODY) - 1)
    monkeypatch.setattr(answer, "END_BYTES", 20)
    meter, usage, _ = body_meter(None)
    assert meter.feed(BODY[:50]) + meter.feed(BODY[50:]) + meter.feed(b" ") == BODY + b" "
    meter.finish()
    assert usage.usage() is None


IMAGES = endpoint_for("POST", "/v1/images/generations")
LONG = b'{"created":1,"data":[' + b",".join([b'{"b64_json":"%b"}' % (b"A" * 300)] * 3)
IMAGES_USAGE = b'"usage":{"input_tokens":5,"output_tokens":30,"total_tokens":35}}'


@pytest.mark.parametrize(
    ("end", "state", "counted", "noted"),
    [
        (b"]," + IMAGES_USAGE, RequestState.EXACT, {"input": 5, "output_image": 30}, "END_READ"),
        (b"]}", RequestState.ESTIMATED, {"standard/1024x1024": 3}, "NOT_READ"),
    ],
)
def test_images_too_large_to_be_kept_are_not_counted_as_if_they_had_been_read(
    monkeypatch: pytest.MonkeyPatch,
    end: bytes,
    state: RequestState,
    counted: dict[str, int],
    noted: str,
) -> None:
    monkeypatch.setattr(answer, "MAX_BODY_BYTES", 500)
    assert IMAGES is not None
    usage = UsageReader(IMAGES, RequestShape(model="gpt-image-2", n=3))
    meter = BodyMeter(usage, AnswerReader(), None)
    meter.feed(LONG + end)
    meter.finish()
    found = usage.usage()
    outcome = Outcome(
        status=200, completed=True, ended=None, metered=True, reported=found, estimable=False
    )
    assert found is not None
    assert {q.type: q.quantity for q in found.quantities} == counted
    assert found.notes == (getattr(notes, noted),)
    assert measure(outcome, None).state is state


def test_a_bomb_passes_unread() -> None:
    bomb = gzip.compress(b" " * (answer.MAX_BODY_BYTES + 1), compresslevel=1)
    meter, usage, _ = body_meter(decoder_for(b"gzip"))
    assert meter.feed(bomb) == bomb
    meter.finish()
    assert usage.usage() is None


def test_what_can_not_be_metered_just_passes() -> None:
    meter = PassMeter()
    assert meter.feed(DONE) == DONE
    meter.finish()
    assert meter.take_held() == b""
    assert not meter.completed
