"""The statements of the hot path: each writes any number of rows in one step.

Every step of a statement gives the interpreter lock away and takes it back, against a busy event
loop: so few statements, not few rows. The number of rows is rounded up to a power of two, or to
three quarters of one, and the rest filled with zeros, which keeps the texts few enough for the
connection's statement cache.
"""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Sequence

CHUNK_ROWS = 256
_FILLER = (0,)
"""Not None: sqlite3 binds plain numbers at once, without looking for an adapter."""


class BulkStatement:
    """``{head} … FROM (VALUES …) AS v WHERE v.column1 <> 0 {tail}``, for any number of rows.

    ``head`` ends with its list of selected expressions; ``width`` is the number of columns of
    a row; the first column is never 0 or NULL.
    """

    def __init__(self, head: str, width: int, tail: str = "") -> None:
        self._head = head
        self._width = width
        self._tail = tail
        self._row = f"({','.join('?' * width)})"
        self._texts: dict[int, str] = {}

    def run(
        self,
        connection: sqlite3.Connection,
        rows: Sequence[tuple[object, ...]],
        *,
        before: tuple[object, ...] = (),
        after: tuple[object, ...] = (),
    ) -> int:
        """Write the rows and return how many were changed.

        ``before`` and ``after`` are the parameters of ``head`` and ``tail``.
        """
        changed = 0
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS] if len(rows) > CHUNK_ROWS else rows
            size = _rounded(len(chunk))
            parameters = list(before)
            for row in chunk:
                parameters += row
            parameters += _FILLER * (self._width * (size - len(chunk)))
            parameters += after
            changed += connection.execute(self._text(size), parameters).rowcount
        return changed

    def _text(self, size: int) -> str:
        text = self._texts.get(size)
        if text is None:
            values = ",".join([self._row] * size)
            text = f"{self._head} FROM (VALUES {values}) AS v WHERE v.column1 <> 0 {self._tail}"
            self._texts[size] = text
        return text


def _rounded(rows: int) -> int:
    """Return the least of 1, 2, 3, 4, 6, 8, 12, 16, 24 … that is no less than ``rows``."""
    power = 1 << (rows - 1).bit_length()
    three_quarters = power - (power >> 2)
    return three_quarters if rows <= three_quarters else power


def columns(first: int, last: int) -> str:
    """Name the columns of the rows from one to another."""
    return ", ".join(f"v.column{n}" for n in range(first, last + 1))


_OPENED = (
    "raw_usage, worker_id, state, id, key_id, key_digest, subscription_id, segment_id,"
    " opened_at_us, endpoint, model_requested, stream, body_bytes, attempt"
)
_ROOM = "zeroblob(330)"
"""What a settlement adds to a row: rows that grow in place would split their pages."""
_SAME_CONFIGURATION = "(SELECT value FROM meta WHERE name = 'configuration_sequence') = ?"

OPEN = BulkStatement(
    f"INSERT INTO requests ({_OPENED}) SELECT {_ROOM}, ?, 'open', {columns(1, 11)}",
    11,
    f"AND {_SAME_CONFIGURATION}",
)
"""Insert open requests, all or none: none where the configuration is no longer the one known."""

OPEN_RESERVING = BulkStatement(
    f"INSERT INTO requests ({_OPENED}, reserved, reserved_tokens)"
    f" SELECT {_ROOM}, ?, 'open', {columns(1, 13)}",
    13,
    f"AND {_SAME_CONFIGURATION}",
)
"""The same, where something is reserved for any of them."""

_SETTLED = (
    "state", "settled_at_us", "model", "upstream_status", "service_tier", "context_class",
    "reasoning_tokens", "notes", "raw_usage", "key_id", "subscription_id", "segment_id",
)  # fmt: skip

SETTLE = BulkStatement(
    f"INSERT INTO requests (id, {', '.join(_SETTLED)}) SELECT {columns(1, 13)}",
    14,
    f"AND {_SAME_CONFIGURATION} AND EXISTS (SELECT 1 FROM requests AS r WHERE r.id = v.column1"
    " AND r.settled_at_us IS NULL AND (r.state = 'open' OR v.column14 = 0))"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _SETTLED)}"
    " WHERE requests.settled_at_us IS NULL",
)
"""Settle requests that are not. An upsert that always meets its row: UPDATE … FROM is slower.

The last column is 1 for those that must still be as they were opened, and not deferred since.
None where the configuration is no longer the one known: who is limited must be known here, too.
"""

INSERT_EVENTS = BulkStatement(
    "INSERT OR IGNORE INTO events (subscription_id, request_id, n, series_id, occurred_at_us,"
    f" quantity) SELECT {columns(1, 6)}",
    6,
)
"""Insert events; those that are there already stay as they are."""

ADD_TO_QUARTERS = BulkStatement(
    f"INSERT INTO sums_quarter (series_id, quarter, quantity) SELECT {columns(1, 3)}",
    3,
    "ON CONFLICT (series_id, quarter) DO UPDATE SET quantity = quantity + excluded.quantity",
)
ADD_TO_DAYS = BulkStatement(
    f"INSERT INTO sums_day (series_id, day, quantity) SELECT {columns(1, 3)}",
    3,
    "ON CONFLICT (series_id, day) DO UPDATE SET quantity = quantity + excluded.quantity",
)
ADD_TO_KEY_QUARTERS = BulkStatement(
    f"INSERT INTO sums_key_quarter (key_id, series_id, quarter, quantity) SELECT {columns(1, 4)}",
    4,
    "ON CONFLICT (key_id, series_id, quarter)"
    " DO UPDATE SET quantity = quantity + excluded.quantity",
)
"""Add to the own sums of keys that have a budget."""
