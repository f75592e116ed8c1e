"""What a model answered: the texts and calls of an answer, collected for the estimate.

Sans-I/O: :class:`AnswerReader` is fed the payloads of server-sent events, or one whole body, of
any endpoint, and gives an :class:`AnswerText`. It reads only what is counted, keeps a bounded
amount of it, and takes any shape: what it does not understand it leaves out.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from proxy.wire.answer_shapes import (
    Call,
    Choice,
    Function,
    Item,
    Message,
    Payload,
    read_payload,
)
from proxy.wire.inline_audio import Speech, SpeechReader

TEXT_MAX: Final = 8 * 1024 * 1024
"""The most text that is kept of one answer, in characters; the rest only raises a note."""

PARTS_MAX: Final = 4096
"""The most choices, items and calls that are kept of one answer."""

TRUNCATED: Final = "answer_text_truncated"


@dataclass(slots=True, kw_only=True)
class AnswerChoice:
    """One choice of a chat or completions answer, or one whole answer of the other endpoints.

    ``tool_calls`` and ``function_call`` are (name, arguments as text). ``reasoning`` is the
    visible part of it; ``speech`` is what was spoken, with its transcript in ``content``.
    """

    content: str = ""
    refusal: str = ""
    reasoning: str = ""
    tool_calls: list[tuple[str, str]] = field(default_factory=list)
    function_call: tuple[str, str] | None = None
    finish_reason: str | None = None
    speech: Speech | None = None

    @property
    def calls(self) -> list[tuple[str, str]]:
        """All calls, of the older form as well: (name, arguments)."""
        return self.tool_calls or ([self.function_call] if self.function_call else [])


@dataclass(slots=True, kw_only=True)
class AnswerText:
    """What an answer says, as far as it came.

    ``reasoning_seen``: reasoning was visible, or its items were. ``created_s``: when the
    provider says that the answer began, in Unix seconds. ``notes`` say what was left out.
    """

    choices: list[AnswerChoice] = field(default_factory=list)
    reasoning_seen: bool = False
    created_s: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Part:
    """A choice or an item while it is being put together."""

    kind: str = ""
    content: list[str | bytes] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, tuple[list[str], list[str]]] = field(default_factory=dict)
    function: tuple[list[str], list[str]] | None = None
    finish_reason: str | None = None
    speech: SpeechReader | None = None

    def call(self, index: int) -> tuple[list[str], list[str]]:
        return self.calls.setdefault(index, ([], []))

    def choice(self) -> AnswerChoice:
        return AnswerChoice(
            content="".join(_decoded(self.content)),
            refusal="".join(self.refusal),
            reasoning="".join(self.reasoning),
            tool_calls=[_joined(self.calls[index]) for index in sorted(self.calls)],
            function_call=_joined(self.function) if self.function else None,
            finish_reason=self.finish_reason,
            speech=self.speech.speech() if self.speech else None,
        )


def _joined(call: tuple[list[str], list[str]]) -> tuple[str, str]:
    return "".join(call[0]), "".join(call[1])


class AnswerReader:
    """Collects one answer: ``event`` for each payload of a stream, or ``json`` for a body."""

    def __init__(self, text_max: int = TEXT_MAX) -> None:
        self._left = text_max
        self._choices: dict[int, _Part] = {}
        self._items: dict[int, _Part] = {}
        self._created_s: int | None = None
        self._reasoning_seen = False
        self._finish_reason: str | None = None
        self._notes: set[str] = set()

    def event(self, data: bytes) -> None:
        """Take the data of one server-sent event; what is no JSON object changes nothing."""
        payload = read_payload(data)
        if payload is None:
            return
        self._created(payload.created)
        for choice in payload.choices or ():
            self._choice(choice)
        if isinstance(payload.type, str):
            self._typed(payload.type, payload)

    def first_texts(self) -> list[str | bytes]:
        """Return the pieces of the first choice's text, to append more; bytes are UTF-8."""
        return self._part(self._choices, 0).content

    def json(self, body: bytes) -> None:
        """Take a whole answer."""
        payload = read_payload(body)
        if payload is None:
            return
        self._created(payload.created)
        self._created(payload.created_at)
        for choice in payload.choices or ():
            self._choice(choice)
        if payload.output is not None:
            self._whole(payload.output, payload.status)
        elif payload.content is not None:
            self._whole(payload.content, payload.stop_reason)

    def cut(self) -> None:
        """Take note of an answer that is too long to be read."""
        self._notes.add(TRUNCATED)

    def answer(self) -> AnswerText:
        """Give what has come so far."""
        choices = [self._choices[index].choice() for index in sorted(self._choices)]
        if self._items:
            choices.append(self._of_items())
        return AnswerText(
            choices=choices,
            reasoning_seen=self._reasoning_seen,
            created_s=self._created_s,
            notes=tuple(sorted(self._notes)),
        )

    def _created(self, created: object) -> None:
        if isinstance(created, int | float) and self._created_s is None:
            self._created_s = int(created)

    def _keep(self, texts: list[str] | list[str | bytes], text: object) -> None:
        """Add ``text`` if it is one, as far as there is room."""
        if not isinstance(text, str) or not text:
            return
        if len(text) > self._left:
            self._notes.add(TRUNCATED)
            text = text[: self._left]
        self._left -= len(text)
        texts.append(text)

    def _part(self, parts: dict[int, _Part], index: object) -> _Part:
        """Give the part at ``index``; beyond the bound one that nobody reads."""
        at = index if isinstance(index, int) else 0
        if at not in parts and len(parts) >= PARTS_MAX:
            self._notes.add(TRUNCATED)
            return _Part()
        return parts.setdefault(at, _Part())

    def _choice(self, choice: Choice) -> None:
        part = self._part(self._choices, choice.index)
        self._keep(part.content, choice.text)
        if isinstance(choice.finish_reason, str):
            part.finish_reason = choice.finish_reason
        if choice.delta is not None:
            self._message(part, choice.delta)
        if choice.message is not None:
            self._message(part, choice.message, whole=True)

    def _message(self, part: _Part, message: Message, *, whole: bool = False) -> None:
        for text in _texts(message.content):
            self._keep(part.content, text)
        self._keep(part.refusal, message.refusal)
        reasoning = message.reasoning_content or message.reasoning
        if isinstance(reasoning, str) and reasoning:
            self._reasoning_seen = True
            self._keep(part.reasoning, reasoning)
        if isinstance(message.audio, dict):
            self._speech(part, message.audio, whole=whole)
        for position, call in enumerate(message.tool_calls or ()):
            self._call(part, call, position)
        if message.function_call is not None:
            part.function = part.function or ([], [])
            self._function(part.function, message.function_call)

    def _speech(self, part: _Part, audio: dict[str, object], *, whole: bool) -> None:
        transcript, data = audio.get("transcript"), audio.get("data")
        self._keep(part.content, transcript)
        if not transcript and not data:
            return  # some upstreams have an empty one in answers that nobody spoke
        part.speech = part.speech or SpeechReader()
        if isinstance(data, str):
            (part.speech.whole if whole else part.speech.piece)(data)

    def _call(self, part: _Part, call: Call, position: int) -> None:
        index = call.index if isinstance(call.index, int) else position
        if index not in part.calls and len(part.calls) >= PARTS_MAX:
            self._notes.add(TRUNCATED)
            return
        function = call.function or call.custom
        if function is not None:
            self._function(part.call(index), function)

    def _function(self, into: tuple[list[str], list[str]], function: Function) -> None:
        self._keep(into[0], function.name)
        self._keep(into[1], _arguments(function.arguments, function.input))

    def _typed(self, kind: str, payload: Payload) -> None:
        if kind.startswith("response."):
            self._response_event(kind, payload)
        elif kind.startswith("content_block"):
            self._block_event(kind, payload)
        elif kind == "message_delta" and isinstance(payload.delta, dict):
            self._finish(payload.delta.get("stop_reason"))

    def _finish(self, reason: object) -> None:
        if isinstance(reason, str):
            self._finish_reason = reason

    def _response_event(self, kind: str, payload: Payload) -> None:
        response = payload.response
        if response is not None:
            self._created(response.created_at)
            if response.output:
                self._whole(response.output, response.status)
        elif kind.endswith(("output_item.added", "output_item.done")) and payload.item is not None:
            self._replace(payload.output_index, payload.item)
        elif kind.endswith(".delta"):
            part = self._part(self._items, payload.output_index)
            self._keep(_texts_of(part, kind), payload.delta)

    def _block_event(self, kind: str, payload: Payload) -> None:
        if kind.endswith("start") and payload.content_block is not None:
            payload.content_block.input = None  # it is empty here; deltas bring it
            self._replace(payload.index, payload.content_block)
        elif kind.endswith("delta") and isinstance(payload.delta, dict):
            part = self._part(self._items, payload.index)
            self._keep(part.content, payload.delta.get("text"))
            self._keep(part.reasoning, payload.delta.get("thinking"))
            if "partial_json" in payload.delta:
                self._keep(part.call(0)[1], payload.delta["partial_json"])

    def _whole(self, items: Iterable[Item], status: object) -> None:
        self._finish(status)
        for index, item in enumerate(items):
            self._replace(index, item)

    def _replace(self, index: object, item: Item) -> None:
        """Put ``item`` where its beginnings were: the last version of it is the whole one."""
        part = self._part(self._items, index)
        self._left += sum(map(len, _all_texts(part)))
        part.content, part.refusal, part.reasoning, part.calls = [], [], [], {}
        part.kind = item.type if isinstance(item.type, str) else ""
        if part.kind in {"reasoning", "thinking"}:
            self._reasoning_seen = True
            for text in (
                *_texts(item.summary),
                *_texts(item.content),
                *_texts(item.thinking),
            ):
                self._keep(part.reasoning, text)
        elif isinstance(item.name, str):
            self._function(part.call(0), Function(item.name, item.arguments, item.input))
        else:
            for text in (*_texts(item.content), *_texts(item.text)):
                self._keep(part.content, text)

    def _of_items(self) -> AnswerChoice:
        parts = [self._items[index] for index in sorted(self._items)]
        return AnswerChoice(
            content="".join(text for part in parts for text in _decoded(part.content)),
            refusal="".join(text for part in parts for text in part.refusal),
            reasoning="".join(text for part in parts for text in part.reasoning),
            tool_calls=[_joined(call) for part in parts for call in part.calls.values()],
            finish_reason=self._finish_reason,
        )


def _texts(content: object) -> list[str]:
    """Give the texts of a content: a string, or an array of parts."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [
        text
        for part in content
        if isinstance(part, dict)
        for text in (part.get("text"), part.get("refusal"))
        if isinstance(text, str)
    ]


def _decoded(texts: list[str | bytes]) -> Iterable[str]:
    """Give texts as such; a piece that is no UTF-8 says nothing, as anywhere in JSON."""
    for text in texts:
        if isinstance(text, str):
            yield text
        else:
            with suppress(UnicodeDecodeError):
                yield text.decode()


def _texts_of(part: _Part, kind: str) -> list[str] | list[str | bytes]:
    if "arguments" in kind or "input" in kind:
        return part.call(0)[1]
    if "reasoning" in kind:
        return part.reasoning
    return part.refusal if "refusal" in kind else part.content


def _all_texts(part: _Part) -> Iterable[str | bytes]:
    yield from (*part.content, *part.refusal, *part.reasoning)
    for name, arguments in part.calls.values():
        yield from (*name, *arguments)


def _arguments(arguments: object, custom: object) -> str | None:
    value = custom if arguments is None else arguments
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
