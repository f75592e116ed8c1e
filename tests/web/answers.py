"""Answers of a scripted upstream, and what the ledger holds of one request."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from proxy.core.ids import from_text
from proxy.demo.scripted import Received, Reply, Responder, whole
from tests.e2e.raw_http import Answer
from tests.proxy_process import ProxyProcess

JSON = ("Content-Type", "application/json")
EVENTS = ("Content-Type", "text/event-stream")


def as_json(value: object, status: int = 200) -> bytes:
    return whole(status, json.dumps(value).encode(), (JSON,))


def as_events(*events: object, status: int = 200) -> bytes:
    lines = [f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n".encode() for e in events]
    return whole(status, b"".join(lines), (EVENTS,))


def by_path(answers: dict[str, bytes]) -> Responder:
    """Answer each path as told, anything else with 404."""

    async def respond(received: Received, reply: Reply) -> None:
        await reply.send(answers.get(received.path, as_json({"error": "unknown"}, 404)))

    return respond


@dataclass(slots=True, kw_only=True)
class Kept:
    """A request in the ledger; ``used`` by metric and type, without the request itself."""

    row: dict[str, Any]
    used: Counter[tuple[str, str]]


def kept(proxy: ProxyProcess, answer: Answer) -> Kept:
    """Return what the ledger holds of the request that was answered so."""
    number = from_text((answer.header(b"x-weighbridge-request-id") or b"").decode())
    (row,) = proxy.rows("SELECT * FROM requests WHERE id = ?", number)
    events = proxy.rows(
        "SELECT metric, type, quantity FROM events JOIN series ON series.id = series_id"
        " WHERE request_id = ? AND metric <> 'requests'",
        number,
    )
    return Kept(row=row, used=Counter({(e["metric"], e["type"]): e["quantity"] for e in events}))
