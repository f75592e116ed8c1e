"""Whether the objects that are kept belong to whom their requests do."""

import sqlite3
from collections.abc import Iterator

from proxy.core.ids import to_text
from proxy.ledger.maintenance import snapshot

_PAGE = (
    "SELECT d.object_id, d.upstream, d.request_id, d.subscription_id, r.id, r.subscription_id"
    " FROM deferred AS d LEFT JOIN requests AS r ON r.id = d.request_id"
    " WHERE (d.object_id, d.upstream) > (?, ?) ORDER BY d.object_id, d.upstream LIMIT ?"
)


def object_differences(
    connection: sqlite3.Connection, page: int
) -> Iterator[tuple[str, str, object, object] | None]:
    """Yield (what, where, kept, derived) for each difference, None for each object looked at.

    An object outlives its request, which may be pruned.
    """
    after = ("", "")
    while True:
        with snapshot(connection):
            rows = connection.execute(_PAGE, (*after, page)).fetchall()
        for object_id, upstream, request_id, kept, found, should in rows:
            after = object_id, upstream
            yield None
            if found is not None and kept != should:
                where = f"of request {to_text(request_id)}"
                yield "object", where, f"subscription {kept}", f"subscription {should}"
        if len(rows) < page:
            return
