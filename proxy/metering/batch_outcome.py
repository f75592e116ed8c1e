"""What is billed for a batch whose output file was read: pure decisions."""

from msgspec import json
from msgspec.structs import replace

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.wire.batch_lines import BatchLines, BatchPart, OutputFile
from proxy.wire.deferred import Seen


def measure_lines(seen: Seen, file: OutputFile, lines: BatchLines) -> Measurement:
    """Say how the batch ended; what its lines used is in :meth:`BatchLines.parts`.

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
    models = {part.usage.model for part in lines.parts()}
    usage = Usage(
        quantities=(),
        model=models.pop() if len(models) == 1 else seen.model,
        service_tier="batch",
        notes=(*status, told, *missing),
    )
    raw = json.encode({"output_file_id": file.file_id, "lines": lines.lines})
    state = RequestState.PARTIAL if missing else RequestState.EXACT
    return Measurement(state=state, usage=usage, raw=raw)


def with_part(measurement: Measurement, part: BatchPart) -> Measurement:
    """Join the only part of a file with how its batch ended."""
    notes = (*measurement.usage.notes, *part.usage.notes)
    return replace(measurement, usage=replace(part.usage, notes=notes))
