"""Long texts, and within what their count must be."""

import json

from proxy.tokens import estimate_input, estimate_output
from proxy.wire.answers import AnswerChoice, AnswerText


def chat(content: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}]}).encode()


def check_is_counted_in_bounds(text: str, least: int, most: int) -> None:
    """Assert it of a text that is asked, and of one that is answered."""
    found = estimate_input("chat.completions", chat(text), "gpt-4o")
    assert least < found.tokens < most
    answer = AnswerText(choices=[AnswerChoice(content=text)])
    found = estimate_output("chat.completions", {}, answer, "gpt-4o", "openai")
    assert least < found.tokens < most
