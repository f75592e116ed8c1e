"""``weighbridge requests``: what the ledger knows of a request, so that it can be defended."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import typer

from proxy.cli.ledger_access import with_ledger
from proxy.cli.output import moment, print_json, print_table, say
from proxy.core.ids import from_text, to_text
from proxy.core.usage import ATOMS_PER_SECOND, Metric
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.port import EventRecord, Ledger, RequestRecord
from proxy.settings import Settings

group = typer.Typer(help="Requests: what was metered, and on what grounds.", no_args_is_help=True)


@group.callback()
def _requests() -> None:
    """Keep ``show`` a word of its own, though there is no other yet."""


@group.command("show")
def show(
    request: Annotated[str, typer.Argument(help="Its id: the header x-weighbridge-request-id.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show all that the ledger knows of a request: usage, events, and the usage as reported."""
    number = _number(request)

    async def read(ledger: Ledger) -> RequestRecord | None:
        return await ledger.request(number)

    record = with_ledger(Settings.load(), read)
    if record is None:
        raise NotFoundError(
            f"There is no request {request}: its id is in the answer's header "
            "x-weighbridge-request-id, and in the log."
        )
    if as_json:
        print_json(request_json(record))
    else:
        print_request(record)


def _number(text: str) -> int:
    try:
        return from_text(text)
    except ValueError as error:
        raise BadRequestError(f"{error}.") from None


def request_json(record: RequestRecord) -> dict[str, Any]:
    """Return a record as JSON shows it; quantities in the metric's unit, as in usage reports."""
    return {
        "id": to_text(record.id),
        "state": record.state,
        "opened_at": _instant(record.opened_at),
        "settled_at": _instant(record.settled_at),
        "customer": record.customer or None,
        "subscription": record.subscription or None,
        "plan": record.plan or None,
        "key": record.key_prefix or None,
        "endpoint": record.endpoint,
        "stream": record.stream,
        "attempt": record.attempt,
        "body_bytes": record.body_bytes,
        "model_requested": record.model_requested,
        "model": record.model or None,
        "service_tier": record.service_tier or None,
        "context_class": record.context_class or None,
        "upstream_status": record.upstream_status,
        "reasoning_tokens": record.reasoning_tokens,
        "object": None if record.object is None else record.object.id,
        "notes": list(record.notes),
        "events": [_event_json(record, event) for event in record.events],
        "raw_usage": _raw(record.raw_usage),
    }


def _event_json(record: RequestRecord, event: EventRecord) -> dict[str, Any]:
    return {
        "transaction_id": f"{to_text(record.id)}.{event.n}",
        "metric": event.metric,
        "type": event.type,
        "quantity": _quantity(event),
        "model": event.model,
        "service_tier": event.service_tier,
        "context_class": event.context_class,
        "source": event.source,
    }


def _quantity(event: EventRecord) -> int | str:
    """Return a quantity in its metric's unit; seconds are decimal text, as in usage reports."""
    if event.metric == Metric.AUDIO_SECONDS:
        return f"{(Decimal(event.quantity) / ATOMS_PER_SECOND).normalize():f}"
    return event.quantity


def _shown(quantity: int | str) -> str:
    return f"{quantity:,}" if isinstance(quantity, int) else quantity


def _raw(usage: bytes) -> Any:
    """Return the provider's usage: as JSON if it is whole, else as text; None without any."""
    if not usage:
        return None
    text = usage.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def print_request(record: RequestRecord) -> None:
    """Print a record for people."""
    holder = f"{record.subscription} (customer {record.customer}, plan {record.plan})"
    facts = {
        "request": to_text(record.id),
        "state": record.state,
        "opened": moment(record.opened_at),
        "settled": moment(record.settled_at) or "not yet",
        "subscription": holder if record.subscription else "none: its key was never seen to work",
        "key": f"{record.key_prefix}…" if record.key_prefix else "",
        "endpoint": record.endpoint + (", streamed" if record.stream else ""),
        "body": f"{record.body_bytes:,} bytes",
        "attempt": str(record.attempt) if record.attempt else "",
        "model": _models(record),
        "service tier": record.service_tier,
        "context class": record.context_class,
        "upstream": "" if record.upstream_status is None else f"status {record.upstream_status}",
        "object": "" if record.object is None else record.object.id,
        "reasoning": f"{record.reasoning_tokens:,} tokens" if record.reasoning_tokens else "",
        "notes": "; ".join(record.notes),
        "raw usage": record.raw_usage.decode("utf-8", "replace") or "none was reported",
    }
    for name, value in facts.items():
        if value:
            say(f"{name:<14}{value}")
    if record.events:
        columns = ("event", "metric", "type", "quantity", "model", "tier", "class", "source")
        rows = (_row(event) for event in record.events)
        print_table(columns, rows, right=frozenset({"quantity"}))


def _models(record: RequestRecord) -> str:
    if record.model and record.model != record.model_requested:
        return f"{record.model} (asked for {record.model_requested or 'none'})"
    return record.model_requested


def _row(event: EventRecord) -> tuple[str, ...]:
    return (
        f".{event.n}",
        event.metric,
        event.type,
        _shown(_quantity(event)),
        event.model,
        event.service_tier,
        event.context_class,
        event.source,
    )
