"""What belongs to nobody goes: the failed requests of keys that never worked (passthrough)."""

import sqlite3

PAGE = 500


def prune_unowned(connection: sqlite3.Connection, before_us: int) -> int:
    """Delete at most a page of them that were accepted before a time; return how many.

    Runs in a transaction of the caller's.
    """
    return connection.execute(
        "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE subscription_id IS NULL"
        " AND settled_at_us IS NOT NULL AND opened_at_us < ? LIMIT ?)",
        (before_us, PAGE),
    ).rowcount
