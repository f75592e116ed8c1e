"""One request as the ledger knows it; read in a connection's thread."""

import sqlite3

from proxy.core.times import from_us
from proxy.ledger.port import DeferredObject, EventRecord, RequestRecord

_REQUEST = (
    "SELECT r.id, r.state, r.opened_at_us, r.settled_at_us, k.prefix, c.external_id,"
    " s.external_id, g.plan, r.endpoint, r.stream, r.attempt, r.body_bytes, r.model_requested,"
    " r.model, r.service_tier, r.context_class, r.upstream_status, r.reasoning_tokens, r.notes,"
    " r.raw_usage FROM requests AS r"
    " LEFT JOIN api_keys AS k ON k.id = r.key_id"
    " LEFT JOIN subscriptions AS s ON s.id = r.subscription_id"
    " LEFT JOIN customers AS c ON c.id = s.customer_id"
    " LEFT JOIN segments AS g ON g.id = r.segment_id WHERE r.id = ?"
)
_EVENTS = (
    "SELECT e.n, t.metric, t.type, e.quantity, t.model, t.service_tier, t.context_class,"
    " t.source FROM requests AS r"
    " JOIN events AS e ON e.subscription_id = r.subscription_id AND e.request_id = r.id"
    " JOIN series AS t ON t.id = e.series_id WHERE r.id = ? ORDER BY e.n"
)


def read_request(connection: sqlite3.Connection, request_id: int) -> RequestRecord | None:
    """Return a request with its events; None if there is none of this id."""
    row = connection.execute(_REQUEST, (request_id,)).fetchone()
    if row is None:
        return None
    number, state, opened_at_us, settled_at_us, *names = row[:8]
    key_prefix, customer, subscription, plan = (name or "" for name in names)
    endpoint, stream, attempt, body_bytes, model_requested = row[8:13]
    model, service_tier, context_class = (name or "" for name in row[13:16])
    upstream_status, reasoning_tokens, notes, raw_usage = row[16:]
    return RequestRecord(
        id=number,
        state=state,
        opened_at=from_us(opened_at_us),
        settled_at=None if settled_at_us is None else from_us(settled_at_us),
        key_prefix=key_prefix,
        customer=customer,
        subscription=subscription,
        plan=plan,
        endpoint=endpoint,
        stream=bool(stream),
        attempt=attempt,
        body_bytes=body_bytes,
        model_requested=model_requested,
        model=model,
        service_tier=service_tier,
        context_class=context_class,
        upstream_status=upstream_status,
        reasoning_tokens=reasoning_tokens,
        notes=tuple(notes.split("; ")) if notes else (),
        raw_usage=(raw_usage or b"").rstrip(b"\0"),  # of an open one it is only room
        events=_events(connection, request_id),
        object=_object(connection, request_id),
    )


def _object(connection: sqlite3.Connection, request_id: int) -> DeferredObject | None:
    row = connection.execute(
        "SELECT upstream, object_id FROM deferred WHERE request_id = ?", (request_id,)
    ).fetchone()
    return None if row is None else DeferredObject(*row)


def _events(connection: sqlite3.Connection, request_id: int) -> tuple[EventRecord, ...]:
    return tuple(
        EventRecord(
            n=n,
            metric=metric,
            type=kind,
            quantity=quantity,
            model=model,
            service_tier=service_tier,
            context_class=context_class,
            source=source,
        )
        for n, metric, kind, quantity, model, service_tier, context_class, source in (
            connection.execute(_EVENTS, (request_id,))
        )
    )
