"""Whether what limits have spent, reserved and running follows from events and open requests."""

import sqlite3
from collections.abc import Iterator

from proxy.ledger.limit_check import rederive_limits
from proxy.ledger.maintenance import snapshot

OWNERS_AT_ONCE = 20
"""An owner's sums are read for each of its windows: few owners make a short snapshot."""


def limit_differences(
    connection: sqlite3.Connection, page: int
) -> Iterator[tuple[str, str, object, object] | None]:
    """Yield (what, where, kept, derived) for each difference, None for each limit looked at."""
    after = -1
    while True:
        with snapshot(connection):
            found, looked_at, after = rederive_limits(connection, after, min(page, OWNERS_AT_ONCE))
        if not looked_at:
            return
        for _ in range(looked_at):
            yield None
        for difference in found:
            yield f"limit {difference.what}", *difference[1:]
