"""Streams as an upstream sends them, with ``include_usage`` and without: what hiding must undo."""

from dataclasses import dataclass
from itertools import pairwise

from proxy.wire.answer import StreamMeter
from proxy.wire.answers import AnswerReader
from proxy.wire.decoding import Decoder
from proxy.wire.endpoints import CHAT_COMPLETIONS, Endpoint
from proxy.wire.usage import RequestShape, UsageReader

USAGE = b'{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}'
DONE = b"data: [DONE]"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one provider writes its chunks.

    ``null`` is written into each chunk where ``{null}`` stands in the templates; ``moved`` where
    ``{moved}`` stands in the last of them: the usage chunk, or else the chunk ``finish``.
    """

    name: str
    chunk: bytes
    null: bytes
    usage_chunk: bytes
    first: bytes = b""
    finish: bytes = b""
    moved: bytes = b""
    end: bytes = b"\n\n"
    between: bytes = b""
    done: bytes = DONE
    tail: bytes = b"\n\n"

    def body(self, *, asked: bool) -> bytes:
        """Render the stream, ``asked`` for its usage or not."""
        null = self.null if asked else b""
        frames = [self.first.replace(b"{null}", null)] if self.first else []
        frames += [
            self.chunk.replace(b"{null}", null).replace(b"{text}", text)
            for text in (b"Hello", b', \\"usage\\":null}', b"\xc3\xa9\\u00e9")
        ]
        body = b"".join(b"data: " + frame + self.end + self.between for frame in frames)
        if self.finish:
            finish = self.finish.replace(b"{null}", null)
            body += b"data: " + finish.replace(b"{moved}", b"" if asked else self.moved) + self.end
        if asked:
            chunk = self.usage_chunk.replace(b"{moved}", self.moved)
            body += b"data: " + chunk.replace(b"{usage}", USAGE) + self.end
        return body + self.done + self.tail if self.done else body


_DELTA = b'[{"index":0,"delta":{"content":"{text}"},"finish_reason":null}]'
_COMPACT = b'{"id":"c1","model":"m","choices":' + _DELTA
_FINISHED = b'[{"index":0,"delta":{},"finish_reason":"stop"}]'
_FINISH = b'{"id":"c1","model":"m","choices":' + _FINISHED
_LLAMA = b'{"choices":%b,"id":"c1","system_fingerprint":"b10499-6d05498","object":"chunk"}'
_USAGE_CHUNK = b'{"id":"c1","model":"m","choices":[],"usage":{usage}}'

_LAST = Dialect(
    name="last",
    chunk=_COMPACT + b"{null}}",
    null=b',"usage":null',
    usage_chunk=_USAGE_CHUNK,
)
_AZURE_FIRST = (
    b'{"choices":[],"id":"","model":"","prompt_filter_results":'
    b'[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]{null}}'
)
DIALECTS = (
    _LAST,
    Dialect(
        name="obfuscation",
        chunk=_COMPACT + b'{null},"obfuscation":"aZ0"}',
        null=b',"usage":null',
        usage_chunk=b'{"id":"c1","choices":[],"usage":{usage},"obfuscation":"x"}',
    ),
    Dialect(
        name="spaces",
        chunk=b'{"id": "c1", "choices": ' + _DELTA + b'{null}, "p": 1.5e3, "q": true}',
        null=b', "usage" : null',
        usage_chunk=b'{"id": "c1", "choices": [ ], "usage": {usage}}',
    ),
    Dialect(
        name="first member",
        chunk=b'{{null}"id":"c1","choices":' + _DELTA + b"}",
        null=b'"usage": null, ',
        usage_chunk=b'{"usage":{usage},"choices":[]}',
    ),
    Dialect(
        name="before the choices",
        chunk=b'{"id":"c1"{null},"choices":' + _DELTA + b"}",
        null=b',"usage":null',
        usage_chunk=b'{"usage":{usage},"choices":[]}',
    ),
    Dialect(
        name="beside a nested one",
        chunk=b'{"id":"c1","choices":[{"delta":{"content":"{text}"},"usage":null}]{null}}',
        null=b',"usage":null',
        usage_chunk=_USAGE_CHUNK,
    ),
    Dialect(
        name="azure",
        first=_AZURE_FIRST,
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
    ),
    Dialect(
        name="crlf",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        end=b"\r\n\r\n",
        tail=b"\r\n\r\n",
    ),
    Dialect(
        name="cr",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        end=b"\r\r",
        tail=b"\r\r",
    ),
    Dialect(
        name="lf, then cr",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        end=b"\n\r",
        tail=b"\n\r",
    ),
    Dialect(
        name="comments, ids and names",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        end=b"\nid: 7\nevent: message\nretry: 10\n\n",
        between=b': keep-alive {"usage":null}\n\n',
    ),
    Dialect(
        name="no end",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        done=b"",
    ),
    Dialect(
        name="vllm",
        chunk=_LAST.chunk,
        null=b"",
        finish=_FINISH + b"{moved}}",
        usage_chunk=b'{"id":"c1","model":"m","choices":[]{moved},"usage":{usage},"metrics":{"x":1}}',
        moved=b',"system_fingerprint":"vllm-0.12-tp1"',
    ),
    Dialect(
        name="llama.cpp",
        chunk=_LLAMA % _DELTA,
        null=b"",
        finish=_LLAMA.replace(b"}", b"{moved}}") % _FINISHED,
        usage_chunk=_LLAMA.replace(b"}", b',"usage":{usage}{moved}}') % b"[]",
        moved=b',"timings":{"prompt_ms":9.6,"x":[{"}":1}]}',
    ),
    Dialect(
        name="moves with spaces, after a null",
        chunk=_LAST.chunk,
        null=b', "usage": null',
        finish=_FINISH + b'{null}{moved}, "obfuscation": "x" }',
        usage_chunk=b'{"choices": [], "usage": {usage}{moved}, "obfuscation": "y"}',
        moved=b', "system_fingerprint" : "v1"',
        end=b"\r\n\r\n",
        tail=b"\r\n\r\n",
    ),
    Dialect(
        name="moves to the front, without an end",
        chunk=_LAST.chunk,
        null=_LAST.null,
        finish=b"{{moved}" + _FINISH[1:] + b"{null}}",
        usage_chunk=b'{{moved}"usage":{usage},"choices":[]}',
        moved=b'"timings":{},',
        done=b"",
    ),
    Dialect(
        name="no last empty line",
        chunk=_LAST.chunk,
        null=_LAST.null,
        usage_chunk=_USAGE_CHUNK,
        tail=b"",
    ),
)


@dataclass(kw_only=True)
class Crossed:
    """What became of a stream: what went on at once, what was held, and the meter."""

    passed: bytes
    held: bytes
    meter: StreamMeter
    usage: UsageReader
    answers: AnswerReader

    @property
    def whole(self) -> bytes:
        return self.passed + self.held


def cross(
    pieces: list[bytes],
    *,
    hide: bool = False,
    decoder: Decoder | None = None,
    endpoint: Endpoint = CHAT_COMPLETIONS,
) -> Crossed:
    """Let a stream, cut into ``pieces``, cross the meter to its end."""
    usage = UsageReader(endpoint, RequestShape(model="m"))
    answers = AnswerReader()
    meter = StreamMeter(endpoint, usage, answers, hide=hide, decoder=decoder)
    passed = b"".join([meter.feed(piece) for piece in pieces])
    meter.finish()
    passed += meter.take_waiting()
    assert not meter.waits
    held = meter.take_held()
    assert meter.take_held() == b""
    return Crossed(passed=passed, held=held, meter=meter, usage=usage, answers=answers)


def halves(body: bytes) -> list[list[bytes]]:
    """Cut at every byte offset."""
    return [[body[:at], body[at:]] for at in range(len(body) + 1)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """Cut at ``places``, which may be anything."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in pairwise(edges)]
