"""A chat's output: the texts and calls that were seen, and what opens and closes them.

Measured: a text costs its tokens alone, and one more where there were functions to choose from
or Azure serves it; a call carries its recipient; several calls are one call of a wrapper. A
response format is named at the head of the message. What reasoning was hidden is not counted.
"""

from dataclasses import dataclass
from typing import Final

from proxy.tokens.families import Family
from proxy.tokens.json_shape import members
from proxy.tokens.messages import SCHEMA_NAME, functions_of, parallel_calls, schema_of
from proxy.tokens.vocabulary import TokenCounter
from proxy.wire.answers import AnswerChoice, AnswerText

END_COUNTED_S: Final = range(1_736_899_200, 1_747_699_200)
"""OpenAI counted the token that ends a message from 15 January to 20 May 2025 (Unix seconds)."""


_CUT: Final = frozenset({"length", "incomplete"})


@dataclass(slots=True, kw_only=True)
class Answer:
    """One answer while it is being counted."""

    count: TokenCounter
    family: Family
    request: dict[str, object]
    provider: str

    def tokens(self, answer: AnswerText) -> int:
        """Give the output tokens of what ``answer`` shows."""
        end = self._end(answer.created_s)
        thought = self.family.always_reasons or answer.reasoning_seen
        return sum(self._choice(choice, end=end, thought=thought) for choice in answer.choices)

    def _choice(self, choice: AnswerChoice, *, end: int, thought: bool) -> int:
        total = self.count(choice.content) + self.count(choice.reasoning)
        total += 0 if choice.finish_reason in _CUT else self.family.answer_end
        if choice.calls:
            if choice.content and not self.family.reasons:
                total += 1 + end
            return total + self._calls(choice.calls, thought=thought) + self._azure + end
        total += self.count(choice.refusal) + (1 if choice.refusal else 0)
        if choice.finish_reason in _CUT:
            return total
        if self.request.get("stop"):
            end = 0
        return total + self._text_end(thought=thought) + self._azure + end

    def _calls(self, calls: list[tuple[str, str]], *, thought: bool) -> int:
        family = self.family
        if len(calls) > 1:
            return self.count(parallel_calls(calls)) + family.parallel_calls
        [(name, arguments)] = calls
        if family.reasons:
            each = family.thought_call if thought else family.call
            return self.count(name) + self.count(arguments) + each
        if self._forced and family.forced_call_bare:
            return self.count(arguments)
        return self.count(family.call_preamble + name) + self.count(arguments) + family.call

    def _text_end(self, *, thought: bool) -> int:
        family = self.family
        chooses = bool(functions_of(self.request)) and self._tool_choice != "none"
        schema = self._schema_name()
        if not family.reasons:
            return (1 + schema if schema else 1) if chooses else 0
        if chooses and family.text_end_with_tools:
            return family.text_end_with_tools
        return (family.thought_text_end if thought else family.text_end) + schema

    def _schema_name(self) -> int:
        """Count the head that a response format puts on its message: 0 without a format."""
        if schema := schema_of(self.request):
            return SCHEMA_NAME + self.count(str(schema.get("name")))
        form = members(self.request.get("response_format")).get("type")
        return SCHEMA_NAME + 1 if form == "json_object" and self.family.reasons else 0

    def _end(self, created_s: int | None) -> int:
        # A range looks an int up at once, but walks through all of itself to find anything else.
        counted = created_s is not None and created_s in END_COUNTED_S
        return 1 if counted and self.provider == "openai" and not self.family.reasons else 0

    @property
    def _azure(self) -> int:
        return 1 if self.provider == "azure" else 0

    @property
    def _tool_choice(self) -> object:
        return self.request.get("tool_choice", self.request.get("function_call"))

    @property
    def _forced(self) -> bool:
        return bool(members(self._tool_choice))
