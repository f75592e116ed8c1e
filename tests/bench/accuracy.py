"""How good the estimates are, by class, on recorded OpenAI and Azure chat calls.

Prints a table: the share counted exactly, and the median and 95th-percentile error in percent;
beside it the same of LiteLLM 1.106, as published for a sample of such calls. The recordings are
read from the file that WEIGHBRIDGE_CORPUS names. ``--halves`` also prints the table for each
half of the repositories that they come from.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from proxy.tokens import estimate_input, estimate_output
from proxy.wire.answers import AnswerReader, AnswerText
from proxy.wire.sse import FrameSplitter, payload

PROVIDERS: Final = frozenset({"openai", "azure"})
CLASSES: Final = ("plain", "tools", "images", "json_schema", "tools + schema", "all")
LITELLM: Final = {
    "plain": ("75.8 / 0 / 7.1", "73.0 / 0 / 69"),
    "tools": ("16.4 / 3.7 / 58.6", "7.1 / 76 / 258"),
    "images": ("0 / 78.7 / 98.9", "63.4 / 0 / 60"),
    "json_schema": ("0 / 70.5 / 80.7", "79.5 / 0 / 100"),
    "tools + schema": ("0 / 33.6 / 50", "0 / 30.8 / 250"),
    "all": ("45.4 / 0.6 / 76.3", "51.6 / 0 / 194"),
}
"""Of 1,220 calls, with the true model's name given: exact share / median / 95th percentile."""


UNCOUNTED: Final = frozenset({"request base64", "response embeddings"})
"""What may be missing of a record that is still whole for the count."""

OMITTED_PICTURE: Final = re.compile(r"data:image/\w+;base64,<omitted \d+ chars; image (\d+)x(\d+)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One call: the errors of its estimates, in tokens, and what they should have been."""

    kind: str
    repo: str
    identifier: str
    input_tokens: int
    input_error: int
    output_tokens: int
    output_error: int

    @property
    def input_percent(self) -> float:
        """The input's error in percent of what was reported."""
        return abs(self.input_error) / max(1, self.input_tokens) * 100

    @property
    def output_percent(self) -> float:
        """The output's error in percent of what was reported, hidden reasoning left out."""
        return abs(self.output_error) / max(1, self.output_tokens) * 100


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Give the recorded calls that succeeded, carry usage, and are whole.

    A record whose pictures alone were left out is whole too: their sizes are noted, and no more
    than that is counted.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record: dict[str, Any] = json.loads(line)
            paired = record["source_kind"] == "recorded_pair" and record["status"] == 200
            if not paired or not isinstance(record["usage"], dict):
                continue
            if isinstance(record["request_body"], dict) and _is_whole(record):
                yield record


def _is_whole(record: dict[str, Any]) -> bool:
    request, _ = OMITTED_PICTURE.subn(_picture, json.dumps(record["request_body"]))
    record["request_body"] = json.loads(request)
    return set(record.get("trimmed") or ()) <= UNCOUNTED and "<omitted " not in request


def _picture(omitted: re.Match[str]) -> str:
    """Give the beginning of a PNG of the size that is noted for a picture left out."""
    size = struct.pack(">II", int(omitted[1]), int(omitted[2]))
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size + bytes(8)
    return "data:image/png;base64," + base64.b64encode(head).decode()


def answer_of(record: dict[str, Any]) -> AnswerText:
    """Read the answer of a record, streamed or not."""
    body = record["response_body"].encode()
    reader = AnswerReader()
    if not record["stream"] or body.lstrip().startswith(b"{"):
        reader.json(body)
        return reader.answer()
    splitter = FrameSplitter()
    for frame in (*splitter.feed(body), splitter.flush()):
        data = payload(frame)[1]
        if data:
            reader.event(data)
    return reader.answer()


def model_of(record: dict[str, Any]) -> str:
    """Give the model that the answer names, else the requested one."""
    body: str = record["response_body"]
    for text in (body, *(line[5:] for line in body.splitlines() if line.startswith("data:"))):
        try:
            model = json.loads(text).get("model")
        except (ValueError, AttributeError):
            continue
        if model:
            return str(model)
    return str(record["request_body"].get("model") or "")


def kind_of(request: dict[str, Any]) -> str:
    """Give the class of a chat request, as in the table."""
    parts = (
        part
        for message in request.get("messages") or ()
        for part in message.get("content") or ()
        if isinstance(part, dict)
    )
    if any(part.get("type") == "image_url" for part in parts):
        return "images"
    tools = bool(request.get("tools") or request.get("functions"))
    form = request.get("response_format")
    schema = isinstance(form, dict) and form.get("type") == "json_schema"
    if tools:
        return "tools + schema" if schema else "tools"
    return "json_schema" if schema else "plain"


def chat_scores(path: Path) -> Iterator[Score]:
    """Estimate every recorded chat call of OpenAI and Azure that reported its prompt."""
    for record in records(path):
        ours = record["endpoint"] == "chat.completions" and record["provider"] in PROVIDERS
        if ours and record["usage"].get("prompt_tokens") is not None:
            answer = answer_of(record)
            if answer.choices:
                yield _score(record, answer)


def _score(record: dict[str, Any], answer: AnswerText) -> Score:
    request, provider, usage = record["request_body"], record["provider"], record["usage"]
    model = model_of(record)
    details = usage.get("completion_tokens_details") or {}
    output = (usage.get("completion_tokens") or 0) - (details.get("reasoning_tokens") or 0)
    counted = estimate_input("chat.completions", request, model).tokens
    answered = estimate_output("chat.completions", request, answer, model, provider).tokens
    return Score(
        kind=kind_of(request),
        repo=record["repo"],
        identifier=record["id"],
        input_tokens=usage["prompt_tokens"],
        input_error=counted - usage["prompt_tokens"],
        output_tokens=output,
        output_error=answered - output,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A class in three figures: the share that is exact, and two errors, all in percent."""

    exact: float
    median: float
    p95: float

    def __str__(self) -> str:
        return f"{self.exact:.1f} / {self.median:.1f} / {self.p95:.1f}"


def summary(errors: Iterable[float]) -> Summary:
    """Sum up errors in percent."""
    ordered = sorted(errors)
    if not ordered:
        return Summary(exact=100.0, median=0.0, p95=0.0)
    return Summary(
        exact=sum(not error for error in ordered) / len(ordered) * 100,
        median=ordered[len(ordered) // 2],
        p95=ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)],
    )


def by_class(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Sort scores into their classes; ``all`` has every one."""
    classes: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        classes[score.kind].append(score)
        classes["all"].append(score)
    return classes


def first_half(score: Score) -> bool:
    """Tell whether a score's repository falls into the first half of all."""
    return hashlib.sha256(score.repo.encode()).digest()[0] % 2 == 0


def table(title: str, scores: Iterable[Score]) -> Table:
    """Draw the table of ``scores``."""
    drawn = Table(title=title, caption="exact / median error / 95th percentile, all in percent")
    for column in ("class", "calls", "input", "LiteLLM 1.106", "output", "LiteLLM 1.106"):
        drawn.add_column(column, justify="left" if column == "class" else "right")
    classes = by_class(scores)
    for kind in CLASSES:
        if found := classes.get(kind):
            inputs = summary(score.input_percent for score in found)
            outputs = summary(score.output_percent for score in found)
            theirs = LITELLM[kind]
            drawn.add_row(kind, str(len(found)), str(inputs), theirs[0], str(outputs), theirs[1])
    return drawn


def main() -> None:
    """Print the table."""
    named = os.environ.get("WEIGHBRIDGE_CORPUS")
    if not named:
        sys.exit("WEIGHBRIDGE_CORPUS is not set: it names the file of recorded traffic")
    scores = list(chat_scores(Path(named)))
    console = Console()
    console.print(table("OpenAI and Azure chat calls", scores))
    if "--halves" in sys.argv[1:]:
        for title, half in (("one half of the repositories", True), ("the other half", False)):
            console.print(table(title, [each for each in scores if first_half(each) is half]))


if __name__ == "__main__":
    main()
