"""What is billed for a batch whose output file was read: pure decisions."""

from collections.abc import Iterable, Iterator

from msgspec import json
from msgspec.structs import replace

from proxy.core.usage import Measurement, Quantity, RequestState, Usage
from proxy.wire.batch_lines import BatchLines, BatchPart, OutputFile
from proxy.wire.deferred import Seen


def measure_lines(seen: Seen, file: OutputFile, lines: BatchLines) -> Measurement:
    """Say how the batch ended, and what its lines used, each part at its own model and class.

    It is exact if every request that was answered has a line, and every line reports its usage.
    """
    lost = file.completed - lines.lines - lines.unread
    flaws = (
        (lost > 0, f"{lost} answers are not in the output file"),
        (lines.unreported, f"{lines.unreported} lines of the output file report no usage"),
        (lines.unread, f"{lines.unread} lines of the output file could not be read"),
    )
    missing = tuple(note for count, note in flaws if count)
    status = () if seen.status == "completed" else (seen.status,)
    told = f"from {lines.lines} lines of the output file"
    parts = lines.parts()
    models = {part.usage.model for part in parts}
    usage = Usage(
        quantities=tuple(each for part in parts for each in _quantities(part)),
        input_tokens=sum(part.usage.input_tokens for part in parts),
        reasoning_tokens=sum(part.usage.reasoning_tokens for part in parts),
        model=models.pop() if len(models) == 1 else seen.model,
        service_tier="batch",
        notes=(*status, told, *missing, *_notes(parts)),
    )
    raw = json.encode({"output_file_id": file.file_id, "lines": lines.lines})
    state = RequestState.PARTIAL if missing else RequestState.EXACT
    return Measurement(state=state, usage=usage, raw=raw)


def common_class(lines: BatchLines) -> str:
    """Return the context class of all lines; ``""`` where they have several."""
    classes = {part.context_class for part in lines.parts()}
    return classes.pop() if len(classes) == 1 else ""


def _quantities(part: BatchPart) -> Iterator[Quantity]:
    for each in part.usage.quantities:
        model = part.usage.model if each.model is None else each.model
        yield replace(each, model=model, context_class=part.context_class)


def _notes(parts: Iterable[BatchPart]) -> dict[str, None]:
    return dict.fromkeys(note for part in parts for note in part.usage.notes)
