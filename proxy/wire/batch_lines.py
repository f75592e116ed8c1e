"""A batch's output file: a line for each request, with its answer in ``response.body``.

Where the batch itself reports no usage (OpenAI's before September 2025, Azure's, other providers'),
its lines do. Each is read as an answer of its endpoint, at the batch tier: with its own model, and
its own context class, since every line is a prompt of its own. Lines of an expired or cancelled
batch are those that were done. Nothing here raises, and no more than a line is kept.

Source: OpenAI's guide to the Batch API, ``BatchRequestOutput`` of its OpenAPI description.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from proxy.core.usage import Metric, Quantity, Usage
from proxy.wire.answers import AnswerReader
from proxy.wire.endpoints import CHAT_COMPLETIONS, Endpoint, Metering, endpoint_for
from proxy.wire.usage import RequestShape, UsageReader

LINE_BYTES_MAX: Final = 16 << 20
"""A longer line is passed over."""
PARTS_MAX: Final = 100
"""How many models and context classes of one file are told apart."""

_UNMETERED: Final = frozenset({Metering.NEVER, Metering.SESSION, Metering.BATCH})
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SPACE: Final = b" \t\r\n"

Classify = Callable[[str, int], str]
"""Returns the context class of a prompt: of the model that it names, and its length in tokens."""


class _Counts(msgspec.Struct, gc=False):
    completed: Any = None


class _Batch(msgspec.Struct, gc=False):
    endpoint: Any = None
    output_file_id: Any = None
    request_counts: _Counts | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: Any = None
    body: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct, gc=False):
    custom_id: Any = None
    response: _Response | None = None


_BATCH: Final = msgspec.json.Decoder(_Batch)
_LINE: Final = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """Where a batch's answers are, of which endpoint they are, and how many there must be."""

    file_id: str
    endpoint: Endpoint
    completed: int = 0


def output_file(body: bytes) -> OutputFile | None:
    """Return the output file that a batch names; None if it names none."""
    try:
        batch = _BATCH.decode(body)
    except _BROKEN:
        return None
    if not isinstance(batch.output_file_id, str) or not batch.output_file_id:
        return None
    completed = None if batch.request_counts is None else batch.request_counts.completed
    return OutputFile(
        file_id=batch.output_file_id,
        endpoint=_endpoint(batch.endpoint),
        completed=completed if isinstance(completed, int) else 0,
    )


def _endpoint(path: object) -> Endpoint:
    """Return the endpoint of a batch's lines (Azure leaves the version out)."""
    text = path if isinstance(path, str) else ""
    found = endpoint_for("POST", text if text.startswith("/v1/") else f"/v1{text}")
    return CHAT_COMPLETIONS if found is None or found.metering in _UNMETERED else found


class BatchReader(AnswerReader):
    """Reads a batch that reports no usage, in place of an answer's text."""

    def __init__(self) -> None:
        super().__init__()
        self.output: OutputFile | None = None

    def json(self, body: bytes) -> None:
        """Take a whole batch."""
        self.output = output_file(body)


@dataclass(slots=True)
class _Sum:
    """What the lines of one model and context class used."""

    quantities: Counter[tuple[Metric, str, str | None]] = field(default_factory=Counter)
    input_tokens: int = 0
    reasoning_tokens: int = 0
    service_tier: str | None = None
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, usage: Usage) -> None:
        for each in usage.quantities:
            self.quantities[each.metric, each.type, each.model] += each.quantity
        self.input_tokens += usage.input_tokens
        self.reasoning_tokens += usage.reasoning_tokens
        self.service_tier = usage.service_tier
        self.notes.update(dict.fromkeys(usage.notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPart:
    """What the lines of one model and context class used."""

    usage: Usage
    context_class: str


class BatchLines:
    """Reads an output file: ``feed`` it, ``finish``, then ask.

    ``lines`` counts those that are a batch's; ``unreported`` those with an answer and no usage,
    ``unread`` those that were too long, broken, or of too many models.
    """

    def __init__(self, endpoint: Endpoint, classify: Classify) -> None:
        self._endpoint = endpoint
        self._classify = classify
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._sums: dict[tuple[str, str], _Sum] = {}
        self.lines = 0
        self.unreported = 0
        self.unread = 0

    def feed(self, data: bytes) -> None:
        """Take a piece of the file."""
        first, *others = data.split(b"\n")
        self._keep(first)
        for piece in others:
            self._end_line()
            self._keep(piece)

    def finish(self) -> None:
        """The file is over; its last line may end without a line feed."""
        self._end_line()

    def parts(self) -> tuple[BatchPart, ...]:
        """Return what was used, in an order that depends on nothing but the file."""
        return tuple(
            BatchPart(usage=_usage(model, self._sums[model, kind]), context_class=kind)
            for model, kind in sorted(self._sums)
            if self._sums[model, kind].quantities
        )

    def _keep(self, piece: bytes) -> None:
        self._rest_bytes += len(piece)
        if self._rest_bytes > LINE_BYTES_MAX:
            self._rest.clear()
        elif piece:
            self._rest.append(piece)

    def _end_line(self) -> None:
        too_long = self._rest_bytes > LINE_BYTES_MAX
        line = b"".join(self._rest)
        self._rest.clear()
        self._rest_bytes = 0
        if too_long:
            self.unread += 1
        elif line.strip(_SPACE):
            self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            found = _LINE.decode(line)
        except _BROKEN:
            self.unread += 1
            return
        if found.response is None:
            # A request that was not done; without a name it is no line of a batch at all.
            self.lines += found.custom_id is not None
            self.unread += found.custom_id is None
            return
        self.lines += 1
        self._count(found.response)

    def _count(self, response: _Response) -> None:
        reader = UsageReader(self._endpoint, RequestShape(is_batch=True))
        reader.json(bytes(response.body))
        status = response.status_code
        succeeded = not isinstance(status, int) or 200 <= status < 300
        usage = reader.usage(succeeded=succeeded)
        if usage is None:
            self.unreported += succeeded
            return
        model = usage.model or ""
        place = model, self._classify(model, usage.input_tokens)
        if place not in self._sums and len(self._sums) >= PARTS_MAX:
            self.unread += 1
            return
        self._sums.setdefault(place, _Sum()).add(usage)


def _usage(model: str, found: _Sum) -> Usage:
    return Usage(
        quantities=tuple(
            Quantity(metric=metric, type=kind, quantity=count, model=other)
            for (metric, kind, other), count in sorted(found.quantities.items(), key=_order)
        ),
        input_tokens=found.input_tokens,
        reasoning_tokens=found.reasoning_tokens,
        model=model or None,
        service_tier=found.service_tier,
        notes=tuple(found.notes),
    )


def _order(item: tuple[tuple[Metric, str, str | None], int]) -> tuple[str, str, str]:
    (metric, kind, other), _ = item
    return metric, kind, other or ""
