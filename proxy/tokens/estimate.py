"""The estimate for answers whose upstream reports no usage: request and answer in, tokens out.

Synchronous and bound by the processor: call it in a thread. It never raises for what a client
or an upstream sent: what it can't read costs a token for every four bytes, and a note.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from proxy.core.usage import tokens_by_length
from proxy.tokens.audio import spoken_tokens
from proxy.tokens.completion import Answer
from proxy.tokens.families import Family, bare_model, family_of
from proxy.tokens.json_shape import compact, elements, members, text
from proxy.tokens.messages import Chat
from proxy.tokens.responses import chat_request, responses_family, responses_input
from proxy.tokens.vocabulary import TokenCounter
from proxy.wire.answers import AnswerText

HIDDEN_REASONING: Final = "hidden_reasoning"
"""The model reasoned, or may have, and its reasoning did not cross: the output is too low."""

BY_LENGTH: Final = "counted_by_length"

OUTPUT_AUDIO: Final = "output_audio_not_counted"
"""The model spoke, and how long can't be told: the output is too low."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """So many tokens, and what was unsure about them; ``audio_tokens`` are some of them."""

    tokens: int
    notes: tuple[str, ...] = ()
    audio_tokens: int = 0


def estimate_input(endpoint: str, request: dict[str, object] | bytes, model: str) -> Estimate:
    """Estimate the input tokens of ``request``, its cached ones included.

    ``endpoint`` is ``chat.completions``, ``completions``, ``responses``, ``embeddings`` or
    ``messages``; anything else is counted by its length. ``model`` is the one that the answer
    names, if it names one, else the requested one.
    """
    try:
        return _counted_input(endpoint, _parsed(request), model)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError):
        return Estimate(_by_length(request), (BY_LENGTH,))


def estimate_output(
    endpoint: str, request: dict[str, object] | bytes, answer: AnswerText, model: str, provider: str
) -> Estimate:
    """Estimate the output tokens of what ``answer`` shows; hidden reasoning is not in them.

    ``request`` decides what stands around the texts; ``provider`` is ``openai``, ``azure`` or
    any other name.
    """
    try:
        parsed = _parsed(request)
    except (msgspec.DecodeError, ValueError, RecursionError):
        parsed = {}
    family = family_of(model)
    count = TokenCounter(family.vocabulary)
    for note in answer.notes:
        count.note(note)
    if _reasons(family, answer):
        count.note(HIDDEN_REASONING)
    try:
        tokens = _output(endpoint)(count, family, parsed, answer, provider)
    except (ValueError, TypeError, RecursionError):
        count.note(BY_LENGTH)
        tokens = _answer_by_length(answer)
    audio_tokens = _spoken(count, parsed, answer)
    return Estimate(max(0, tokens) + audio_tokens, count.notes, audio_tokens)


def _parsed(request: dict[str, object] | bytes) -> dict[str, object]:
    if isinstance(request, dict):
        return request
    return msgspec.json.decode(request, type=dict[str, object])


def _by_length(request: dict[str, object] | bytes) -> int:
    if isinstance(request, dict):
        try:
            request = compact(request).encode("utf-8", "replace")
        except (ValueError, TypeError, RecursionError):
            return 0
    return tokens_by_length(len(request))


def _counted_input(endpoint: str, request: dict[str, object], model: str) -> Estimate:
    counting = _INPUTS.get(endpoint)
    if counting is None:
        return Estimate(_by_length(request), (BY_LENGTH,))
    family = family_of(model)
    count = TokenCounter(family.vocabulary)
    if family.foreign:
        count.note("foreign_vocabulary")
    chat = Chat(count=count, family=family, model=bare_model(model))
    tokens = max(0, counting(chat, request))
    return Estimate(tokens + chat.audio_tokens, count.notes, chat.audio_tokens)


def _texts(count: TokenCounter, given: object) -> int:
    """Count a prompt or an input: a text, token ids, or an array of either."""
    if isinstance(given, str):
        return count(given)
    return count.each(elements(given), lambda each: _text_tokens(count, each))


def _text_tokens(count: TokenCounter, given: object) -> int:
    """Count one element of an array: a text, a token's id, or an array of ids."""
    if isinstance(given, str):
        return count(given)
    return 1 if isinstance(given, int) else len(elements(given))


def _completions_input(chat: Chat, request: dict[str, object]) -> int:
    return _texts(chat.count, request.get("prompt")) + chat.count(text(request.get("suffix")))


def _embeddings_input(chat: Chat, request: dict[str, object]) -> int:
    return _texts(chat.count, request.get("input"))


def _messages_input(chat: Chat, request: dict[str, object]) -> int:
    """Count an Anthropic request as the chat that it amounts to."""
    messages: list[object] = []
    if system := request.get("system"):
        messages.append({"role": "system", "content": system})
    messages += (
        {"role": message.get("role"), "content": _blocks(message.get("content"))}
        for message in map(members, elements(request.get("messages")))
    )
    tools = [{"function": tool} for tool in elements(request.get("tools"))]
    return chat.tokens({"messages": messages, "tools": tools})


def _blocks(content: object) -> object:
    """Give a message's blocks as a chat's parts; what a tool gave back stands among them."""
    if not isinstance(content, list):
        return content
    return [part for block in map(members, content) for part in _parts(block)]


def _parts(block: dict[str, object]) -> list[dict[str, object]]:
    if block.get("type") != "tool_result":
        return [_part(block)]
    result = block.get("content")
    return [{"text": text(result)}, *(_part(members(part)) for part in elements(result))]


def _part(block: dict[str, object]) -> dict[str, object]:
    match block.get("type"):
        case "tool_use":
            return {"text": text(block.get("name")) + compact(block.get("input"))}
        case "image":
            source = members(block.get("source"))
            url = f"data:;base64,{text(source.get('data'))}" if source.get("data") else ""
            return {"type": "image_url", "image_url": url or text(source.get("url"))}
    return block


def _chat_output(
    count: TokenCounter,
    family: Family,
    request: dict[str, object],
    answer: AnswerText,
    provider: str,
) -> int:
    counted = Answer(count=count, family=family, request=request, provider=provider)
    return round(counted.tokens(answer) * family.scale)


def _responses_output(
    count: TokenCounter,
    family: Family,
    request: dict[str, object],
    answer: AnswerText,
    provider: str,
) -> int:
    del provider
    ours = responses_family(family)
    return _chat_output(count, ours, chat_request(request), answer, "")


def _spoken(count: TokenCounter, request: dict[str, object], answer: AnswerText) -> int:
    """Count what was spoken, beside its transcript."""
    total = 0
    for choice in answer.choices:
        if choice.speech is not None:
            tokens = spoken_tokens(choice.speech, request)
            if tokens is None:
                count.note(OUTPUT_AUDIO)
            total += tokens or 0
    return total


def _completions_output(
    count: TokenCounter,
    family: Family,
    request: dict[str, object],
    answer: AnswerText,
    provider: str,
) -> int:
    del family, request, provider
    return sum(count(choice.content) for choice in answer.choices)


_OutputCount = Callable[[TokenCounter, Family, dict[str, object], AnswerText, str], int]

_INPUTS: Final[dict[str, Callable[[Chat, dict[str, object]], int]]] = {
    "chat.completions": Chat.tokens,
    "completions": _completions_input,
    "embeddings": _embeddings_input,
    "messages": _messages_input,
    "responses": responses_input,
}

_OUTPUTS: Final[dict[str, _OutputCount]] = {
    "completions": _completions_output,
    "responses": _responses_output,
}


def _output(endpoint: str) -> _OutputCount:
    return _OUTPUTS.get(endpoint, _chat_output)


def _reasons(family: Family, answer: AnswerText) -> bool:
    visible = any(choice.reasoning for choice in answer.choices)
    return (family.reasons or answer.reasoning_seen) and not visible


def _answer_by_length(answer: AnswerText) -> int:
    texts = (
        part
        for choice in answer.choices
        for part in (choice.content, choice.refusal, choice.reasoning, *sum(choice.calls, ()))
    )
    return tokens_by_length(sum(map(len, texts)))
