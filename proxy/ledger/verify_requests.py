"""Whether every request is in one state, and its events say the same.

Those that were appended while it ran say what they knew then: an answer of a session was exact,
however the session ended.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Iterator

from proxy.core.ids import to_text
from proxy.core.usage import UNSETTLED, RequestState
from proxy.ledger.maintenance import snapshot
from proxy.ledger.port import APPENDED_FROM

_FINAL = frozenset(str(state) for state in RequestState if state not in UNSETTLED)
_RUNNING = frozenset(str(state) for state in UNSETTLED)
_OWNERLESS = frozenset({str(RequestState.FAILED), str(RequestState.ABANDONED)})
_OWN = (
    "FROM events AS e JOIN series AS s ON s.id = e.series_id WHERE"
    " e.subscription_id = r.subscription_id AND e.request_id = r.id AND e.transaction_id IS NULL"
)
_PAGE = (
    "SELECT r.id, r.state, r.settled_at_us IS NOT NULL, r.subscription_id IS NOT NULL,"
    f" (SELECT count(*) {_OWN} AND e.n = 0),"
    f" (SELECT count(*) {_OWN} AND e.n = 0 AND s.metric = 'requests' AND s.type = r.state"
    " AND e.quantity = 1 AND e.occurred_at_us = r.opened_at_us),"
    f" (SELECT count(*) {_OWN} AND s.source <> r.state AND e.n < {APPENDED_FROM})"
    " FROM requests AS r WHERE r.id > ?"
    " AND NOT EXISTS (SELECT 1 FROM prunings AS p WHERE p.subscription_id = r.subscription_id"
    " AND p.through_us > r.opened_at_us) ORDER BY r.id LIMIT ?"
)


def request_differences(
    connection: sqlite3.Connection, page: int
) -> Iterator[tuple[str, str, object, object] | None]:
    """Yield (what, where, kept, derived) for each difference, None for each request looked at."""
    after = -(1 << 62)
    while True:
        with snapshot(connection):
            rows = connection.execute(_PAGE, (after, page)).fetchall()
        for row in rows:
            after = row[0]
            yield None
            for kept, should in _differences(row[1], row[2:4], row[4:]):
                yield "request", f"{to_text(after)} ({row[1]})", kept, should
        if len(rows) < page:
            return


def _differences(
    state: str, flags: tuple[int, int], counts: tuple[int, int, int]
) -> Iterator[tuple[str, str]]:
    (settled, owned), (ends, right_ends, of_others) = flags, counts
    if state not in _FINAL | _RUNNING:
        yield f"state {state!r}", "a state of the design"
    elif settled != (state in _FINAL):
        yield "a settling time" if settled else "no settling time", "the contrary"
    if state in _FINAL and owned and (ends, right_ends) != (1, 1):
        yield f"{ends} closing events, {right_ends} of them right", "1 that is right"
    if state in _RUNNING and ends:
        yield "a closing event", "none while it runs"
    if state in _FINAL and not owned and state not in _OWNERLESS:
        yield "no subscription", "failed or abandoned without one"
    if state in _FINAL and of_others:
        yield f"{of_others} events of another state", "0"
