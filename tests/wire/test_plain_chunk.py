"""The short way of a chunk leads where the long way does."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import plain_chunk as plain_chunk_module
from proxy.wire.answer import StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.endpoints import CHAT_COMPLETIONS
from proxy.wire.plain_chunk import MISSES_MAX, PLAIN_CHUNK, PlainChunks
from proxy.wire.usage import RequestShape, UsageReader

FIRST = b'data: {"created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
OPENAI = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1741570283,'
    b'"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_1",'
    b'"choices":[{"index":0,"delta":{"content":" hello"},"logprobs":null,"finish_reason":null}],'
    b'"usage":null,"obfuscation":"ab"}\n\n'
)


def crossed(frames: list[bytes], *, hide: bool) -> tuple[bytes, str, object]:
    usage = UsageReader(CHAT_COMPLETIONS, RequestShape(model="m"))
    answers = AnswerReader()
    meter = StreamMeter(CHAT_COMPLETIONS, usage, answers, hide=hide)
    out = b"".join([meter.feed(frame) for frame in [FIRST, *frames]])
    meter.finish()
    out += meter.take_waiting()
    text = "".join(choice.content for choice in answers.answer().choices)
    return out + meter.take_held(), text, usage.usage()


def the_long_way(frames: list[bytes], *, hide: bool) -> tuple[bytes, str, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_chunk_module, "PLAIN_CHUNK", re.compile(b"(?!)"))
        return crossed(frames, hide=hide)


def test_openais_chunk_is_plain() -> None:
    match = PLAIN_CHUNK.fullmatch(OPENAI)
    assert match is not None
    assert match["text"] == b" hello"
    assert crossed([OPENAI], hide=True)[0] == FIRST + OPENAI.replace(b',"usage":null', b"")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'" hello"', b'"\\n"'),
        (b'"usage":null', b'"usage":{"prompt_tokens":1}'),
        (b'"usage":null', b'"error":"boom"'),
        (b'"finish_reason":null', b'"finish_reason":"stop"'),
        (b'"index":0', b'"index":1'),
        (b'"created":1741570283', b'"usage":null'),
        (b'"delta":{', b'"delta":{"role":"assistant",'),
        (b"data: ", b"event: x\ndata: "),
        (b"\n\n", b"\r\n\r\n"),
        (b" hello", b"\xff"),
    ],
)
@pytest.mark.parametrize("hide", [False, True])
def test_what_is_not_goes_the_long_way(old: bytes, new: bytes, hide: bool) -> None:
    frame = OPENAI.replace(old, new)
    # Also where the stream's plain chunks are known by now.
    for frames in ([frame], [OPENAI, frame, OPENAI]):
        assert crossed(frames, hide=hide) == the_long_way(frames, hide=hide)


def test_a_stream_may_begin_to_name_usage_later() -> None:
    silent = OPENAI.replace(b',"usage":null', b"")
    frames = [silent, silent, OPENAI, OPENAI, silent]
    assert crossed(frames, hide=True) == the_long_way(frames, hide=True)
    assert crossed(frames, hide=True)[0] == FIRST + silent * 5


flat = st.one_of(st.none(), st.booleans(), st.integers(0, 10**9), st.text(max_size=5))
names = st.sampled_from(["id", "model", "usage", "error", "obfuscation", "x_groq", "created"])
choices = st.fixed_dictionaries(
    {"index": st.integers(0, 1), "delta": st.fixed_dictionaries({"content": st.text(max_size=9)})},
    optional={"logprobs": st.none(), "finish_reason": st.sampled_from([None, "stop"])},
)
chunks = st.tuples(
    st.dictionaries(names, flat, max_size=4),
    st.lists(choices, min_size=1, max_size=2),
    st.dictionaries(names, flat, max_size=2),
)


@given(chunks=st.lists(chunks, max_size=5), hide=st.booleans(), ascii_only=st.booleans())
def test_both_ways_lead_to_the_same(
    chunks: list[tuple[dict[str, object], list[object], dict[str, object]]],
    hide: bool,
    ascii_only: bool,
) -> None:
    frames = []
    for before, choice, after in chunks:
        others = {name: value for name, value in after.items() if name not in before}
        value = {**before, "choices": choice, **others}
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
        frames.append(b"data: %b\n\n" % text.encode())
    assert crossed(frames, hide=hide) == the_long_way(frames, hide=hide)


def relayed(room: int = 1 << 20) -> tuple[PlainChunks, list[str | bytes]]:
    texts: list[str | bytes] = []
    return PlainChunks(lambda: texts, hide=False, room=room), texts


def test_no_more_text_is_kept_than_there_is_room_for() -> None:
    chunks, texts = relayed(room=2 * len(OPENAI))
    assert [chunks.relay(OPENAI) for _ in range(4)] == [OPENAI, OPENAI, None, None]
    assert texts == [b" hello"] * 2


def test_a_stream_of_another_kind_is_soon_left_to_the_long_way() -> None:
    chunks, _ = relayed()
    assert [chunks.relay(FIRST) for _ in range(MISSES_MAX)] == [None] * MISSES_MAX
    assert chunks.relay(OPENAI) is None


def test_a_long_answer_says_so_either_way() -> None:
    long = OPENAI.replace(b" hello", b"x" * 1_000_000)
    assert crossed([long] * 20, hide=True)[0] == the_long_way([long] * 20, hide=True)[0]
