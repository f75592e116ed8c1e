"""A chat's input: its messages, the functions and formats they carry, its images and its audio.

Measured: a message takes 3 tokens, its role and its content. Functions and formats are text
after the first system message, or a system message of their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from proxy.tokens.audio import AROUND_HEARD, heard_tokens
from proxy.tokens.families import Family
from proxy.tokens.formats import render_format
from proxy.tokens.image_size import size_in_address, size_of_data_url
from proxy.tokens.images import image_tokens
from proxy.tokens.json_shape import elements, members, recompacted, respaced, spaced, text
from proxy.tokens.typescript import render_functions
from proxy.tokens.vocabulary import ITEMS_PER_ESTIMATE, TokenCounter

_MESSAGE = 3
_OWN_SYSTEM_MESSAGE = 4
_NAME = 1
_PARALLEL_RESULTS = 10
SCHEMA_NAME = 2
_NAMED_CHOICE = 7


@dataclass(slots=True, kw_only=True)
class Chat:
    """One chat request while it is being counted, or a ``/responses`` one made into a chat.

    ``audio_tokens`` are of what is heard, and in no other figure: audio has a price of its own.
    """

    count: TokenCounter
    family: Family
    model: str
    responses: bool = False
    names: dict[object, str] = field(default_factory=dict)
    parallel: dict[object, list[str]] = field(default_factory=dict)
    schema: dict[str, object] = field(default_factory=dict)
    shown: str = ""
    shown_in_system: bool = False
    audio_tokens: int = 0

    def tokens(self, request: dict[str, object]) -> int:
        """Give the input tokens of ``request``, without those of audio."""
        messages = [members(message) for message in elements(request.get("messages"))]
        if self.family.content_only:
            return self.count.each(
                messages, lambda each: self.count(content_text(each.get("content")))
            )
        functions = functions_of(request)[:ITEMS_PER_ESTIMATE]
        schema = self.schema = schema_of(request)
        foreign = self.family.foreign
        self.shown = _shown([] if foreign else functions, schema)
        total = self.family.reply_opening + self.count.each(messages, self.message)
        if self.shown and not self.shown_in_system:
            total += _OWN_SYSTEM_MESSAGE + self.count(self.shown)
        total += self._parallel_results()
        total += self._functions(request, functions) + self._schema(functions, schema)
        return max(0, round(total * self.family.scale))

    def _functions(self, request: dict[str, object], functions: list[dict[str, object]]) -> int:
        if not functions:
            return 0
        family = self.family
        if family.foreign:
            return family.tools + functions_as_json(self, functions)
        total = family.tools_in_system if self.shown_in_system else family.tools
        if not self.names:  # measured where nothing was called yet; after a call it is not so
            total += sum(family.undescribed for each in functions if not each.get("description"))
        choice = request.get("tool_choice", request.get("function_call"))
        if choice == "none" and not family.reasons:
            total += 1
        elif isinstance(choice, dict):
            name = members(choice.get("function")).get("name") or choice.get("name")
            total += named_choice(self, text(name))
        return total

    def _schema(self, functions: list[dict[str, object]], schema: dict[str, object]) -> int:
        if not schema or functions:
            return 0
        if self.family.schema_name:
            return self._schema_name()
        return self.family.schema_in_system if self.shown_in_system else 0

    def message(self, message: dict[str, object]) -> int:
        """Count one message, with its images and calls."""
        role = text(message.get("role"))
        content = content_text(message.get("content"))
        total = self._media(message.get("content"))
        if message.get("audio"):  # what it said is at the provider, under its id
            self.count.note("earlier_audio_not_counted")
        if name := text(message.get("name")):
            total += 0 if role in {"tool", "function"} else self.count(name)
        if calls := _calls(message):
            return total + self._calling(calls, content)
        if role == "tool":
            return total + self._tool_result(message, content)
        if role == "function":
            return total + self._result(text(message.get("name")), content)
        if self.shown and role in {"system", "developer"} and not self.shown_in_system:
            content = f"{content}\n\n{self.shown}"
            self.shown_in_system = True
        named = _NAME if name and name != role else 0
        total += _MESSAGE + named + self.count(role) + self.count(content)
        total += self.count(text(message.get("refusal")))
        return total + (self._assistant_turn() if role == "assistant" else 0)

    def _assistant_turn(self) -> int:
        return self.family.assistant_turn + (self._schema_name() if self.schema else 0)

    def _schema_name(self) -> int:
        return SCHEMA_NAME + self.count(str(self.schema.get("name")))

    def _calling(self, calls: list[tuple[object, str, str]], content: str) -> int:
        total = 0
        if content:
            total += _MESSAGE + self.count("assistant") + self.count(content)
            total += self._assistant_turn()
        self.names.update((identifier, name) for identifier, name, _ in calls)
        opening = _MESSAGE + self.count("assistant")
        if len(calls) == 1 or not self.family.wraps_parallel_calls:
            return (
                total
                + self.family.tool_calls
                + sum(
                    opening + self.count(f" to=functions.{name}") + self.count(arguments)
                    for _, name, arguments in calls
                )
            )
        results: list[str] = []
        self.parallel.update((identifier, results) for identifier, _, _ in calls)
        total += opening + self.count(" to=multi_tool_use.parallel")
        return total + self.count(parallel_calls([(name, args) for _, name, args in calls]))

    def _tool_result(self, message: dict[str, object], content: str) -> int:
        identifier = text(message.get("tool_call_id"))
        if identifier in self.parallel:
            self.parallel[identifier].append(content)
            return 0
        name = self.names.get(identifier, text(message.get("name")))
        return self._result(name, content)

    def _result(self, name: str, content: str) -> int:
        return _MESSAGE + self.count("tool") + self.count(name) + 2 + self.count(content)

    def _parallel_results(self) -> int:
        groups = {id(results): results for results in self.parallel.values() if results}
        return sum(
            _PARALLEL_RESULTS + self.count(f"[{', '.join(self._respaced(results))}]")
            for results in groups.values()
        )

    def _respaced(self, results: list[str]) -> Iterator[str]:
        for result in results:
            yield respaced(result, escaped=self.family.escapes_results)

    def _media(self, content: object) -> int:
        return sum(self._part(members(part)) for part in elements(content))

    def _part(self, part: dict[str, object]) -> int:
        kind = part.get("type")
        if kind == "image_url":
            return self._image(part.get("image_url"))
        if kind == "input_audio":
            return self._heard(part.get("input_audio"))
        if kind == "file":
            self.count.note("file_not_counted")
        return 0

    def _heard(self, audio: object) -> int:
        tokens = heard_tokens(audio)
        if tokens is None:
            self.count.note("input_audio_not_counted")
            return 0
        self.audio_tokens += tokens
        return AROUND_HEARD

    def _image(self, image: object) -> int:
        url = text(members(image).get("url")) or text(image)
        size = size_of_data_url(url) or size_in_address(url)
        if size is None:
            self.count.note("image_size_unknown")
        detail = text(members(image).get("detail"))
        tokens = image_tokens(self.model, size, detail, responses=self.responses)
        # What the family's scale makes of a chat's text is no matter of pictures.
        return tokens if self.responses else round(tokens / self.family.scale)


def named_choice(chat: Chat, name: str) -> int:
    """Count a choice of one function, which opens the answer with its name."""
    return _NAMED_CHOICE + chat.count(name) if chat.family.named_tool_choice else 0


def parallel_calls(calls: list[tuple[str, str]]) -> str:
    """Give the one call that a model makes of several (name, arguments)."""
    uses = ",".join(
        f'{{"recipient_name":"functions.{name}","parameters":{recompacted(arguments)}}}'
        for name, arguments in calls
    )
    return f'{{"tool_uses":[{uses}]}}'


def functions_of(request: dict[str, object]) -> list[dict[str, object]]:
    """Give the functions that a chat request offers, of the older form too."""
    tools = [members(tool).get("function") for tool in elements(request.get("tools"))]
    return [each for each in tools or elements(request.get("functions")) if isinstance(each, dict)]


def schema_of(request: dict[str, object]) -> dict[str, object]:
    """Give ``response_format.json_schema`` where that is the format, else an empty object."""
    response_format = members(request.get("response_format"))
    if response_format.get("type") != "json_schema":
        return {}
    return members(response_format.get("json_schema"))


def content_text(content: object) -> str:
    """Give the text of a message's content: a string, or the texts of its parts."""
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    return text(content)


def _part_text(part: object) -> str:
    if isinstance(part, dict):
        return text(part.get("text")) or text(part.get("refusal"))
    return text(part)


def functions_as_json(chat: Chat, functions: list[dict[str, object]]) -> int:
    """Count functions as models of other makers are mostly told of them."""
    return sum(chat.count(spaced({"type": "function", "function": each})) for each in functions)


def _shown(functions: list[dict[str, object]], schema: dict[str, object]) -> str:
    texts = []
    if functions:
        texts.append(render_functions(functions))
    if schema:
        texts.append(render_format(schema))
    return "\n\n".join(texts)


def _calls(message: dict[str, object]) -> list[tuple[object, str, str]]:
    """Give the calls in an assistant's message: (id, name, compact arguments)."""
    calls = elements(message.get("tool_calls"))
    if not calls and message.get("function_call"):
        calls = [{"function": message["function_call"]}]
    return [_call(members(call)) for call in calls]


def _call(call: dict[str, object]) -> tuple[object, str, str]:
    function = members(call.get("function") or call.get("custom"))
    arguments = function.get("arguments") or function.get("input") or ""
    return text(call.get("id")), text(function.get("name")), recompacted(arguments)
