"""Usage of a request while it runs: one socket has many answers, each durable before the next.

An append is booked as a settlement is, by the same code and in the same transactions: its events
and sums, what they cost a limited owner, and nothing of it twice. Only the request's row stays as
it is, open, except that a key which was unknown when it opened has shown that it works.
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.ledger.limit_owners import LimitedOwners
from proxy.ledger.limiting import Limiting
from proxy.ledger.port import Settlement

_THERE = "SELECT 1 FROM requests WHERE id = ?"
_CLAIM = (
    "UPDATE requests SET key_id = ?, subscription_id = ?, segment_id = ?"
    " WHERE id = ? AND subscription_id IS NULL"
)
_ENDED = "SELECT state FROM requests WHERE id = ? AND subscription_id IS NULL AND state <> 'open'"


class Claim(NamedTuple):
    """An append, the (key, subscription, segment) it is booked to, and who of them is limited."""

    part: Settlement
    place: tuple[int | None, int | None, int | None]
    owners: LimitedOwners


def ended_as_nobodys(connection: sqlite3.Connection, part: Settlement) -> Settlement | None:
    """Return the end of a request that was nobody's then, and is somebody's by this append.

    It was abandoned, say, while the append waited in the spool. Of itself it is counted now: what
    it was taken to have used, as nobody's, is not.
    """
    row = connection.execute(_ENDED, (part.request_id,)).fetchone()
    if row is None:
        return None
    measurement = Measurement(state=RequestState(row[0]), usage=Usage(quantities=()))
    return msgspec.structs.replace(part, appended_from=0, measurement=measurement)


def claim(connection: sqlite3.Connection, claims: Iterable[Claim], limiting: Limiting) -> bool:
    """Give requests that were nobody's to their subscriptions: events must not be without one.

    False where a request is not there: it was pruned, and its events with it, which were booked.
    """
    for part, place, owners in claims:
        if connection.execute(_THERE, (part.request_id,)).fetchone() is None:
            return False
        if part.key is not None or place[1] is None:
            continue
        if connection.execute(_CLAIM, (*place, part.request_id)).rowcount:
            limiting.count_in(part.request_id, owners)
    return True
