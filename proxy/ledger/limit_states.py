"""The rows in which limited owners' states are kept: read and written in bulk."""

# ruff: noqa: S608 - texts are made of constants, values are bound

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from proxy.core.limits import FOREVER_US, LimitState, Spend, Window
from proxy.ledger.statements import BulkStatement, columns

_COLUMNS = (
    "owner", "subscription_id", "basis",
    "period_start_us", "period_end_us", "period_spent", "period_reserved",
    "day_start_us", "day_end_us", "day_spent", "day_reserved", "total_spent", "total_reserved",
    "running", "requests_level_us", "tokens_level_us", "levels_at_us", "overruns", "sums_kept",
)  # fmt: skip
_READ = f"SELECT {', '.join(_COLUMNS)} FROM limit_states"
_WRITE = BulkStatement(
    f"INSERT INTO limit_states ({', '.join(_COLUMNS)}) SELECT {columns(1, len(_COLUMNS))}",
    len(_COLUMNS),
    "ON CONFLICT (owner) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[2:]),
)
"""Not REPLACE: that would write the index anew, each time."""
_NO_WINDOW = (None, None, None, None)


class StateRow(NamedTuple):
    """A kept state; ``sums_kept``: the key has sums of its own."""

    owner: int
    subscription_id: int
    basis: str
    state: LimitState
    sums_kept: bool


def read_states(connection: sqlite3.Connection, owners: Sequence[int]) -> dict[int, StateRow]:
    """Read the states of owners, as far as there are any."""
    size = 1 << (len(owners) - 1).bit_length()
    marks = ",".join("?" * size)
    values = (*owners, *(None,) * (size - len(owners)))
    rows = connection.execute(f"{_READ} WHERE owner IN ({marks})", values)
    return {row[0]: _state_row(row) for row in rows}


def write_states(connection: sqlite3.Connection, rows: Sequence[StateRow]) -> None:
    """Keep states."""
    _WRITE.run(connection, [_values(row) for row in rows])


class OtherWriters:
    """Tells whether another connection has committed anything: what was read may be old then."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._version = -1

    def wrote(self, connection: sqlite3.Connection) -> bool:
        """Say whether any has since this was asked last; of a new connection, that it has.

        Call it in a write transaction: nothing can be committed by others within. Versions are a
        connection's own: those of two connections say nothing of each other.
        """
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        known = connection is self._connection and version == self._version
        self._connection, self._version = connection, version
        return not known


def read_all_states(connection: sqlite3.Connection, after: int, limit: int) -> list[StateRow]:
    """Read a page of all states, in the order of owners."""
    rows = connection.execute(f"{_READ} WHERE owner > ? ORDER BY owner LIMIT ?", (after, limit))
    return [_state_row(row) for row in rows]


def _state_row(row: tuple[object, ...]) -> StateRow:
    owner, subscription_id, basis, *rest = row
    p_start, p_end, p_spent, p_held, d_start, d_end, d_spent, d_held, t_spent, t_held = rest[:10]
    spends = []
    if p_spent is not None:
        spends.append(_spend(Window.PERIOD, p_start, p_end, p_spent, p_held))
    if d_spent is not None:
        spends.append(_spend(Window.DAY, d_start, d_end, d_spent, d_held))
    if t_spent is not None:
        spends.append(_spend(Window.TOTAL, 0, FOREVER_US, t_spent, t_held))
    *counts, sums_kept = rest[10:]
    state = LimitState(tuple(spends), *counts)  # type: ignore[arg-type]
    return StateRow(owner, subscription_id, basis, state, bool(sums_kept))  # type: ignore[arg-type]


def _spend(window: Window, start: object, end: object, spent: object, held: object) -> Spend:
    return Spend(window, start, end, Decimal(spent), Decimal(held))  # type: ignore[arg-type]


def _values(row: StateRow) -> tuple[object, ...]:
    period: tuple[object, ...] = _NO_WINDOW
    day: tuple[object, ...] = _NO_WINDOW
    whole: tuple[object, ...] = (None, None)
    for window, start_us, end_us, spent, reserved in row.state.spends:
        if window is Window.PERIOD:
            period = (start_us, end_us, str(spent), str(reserved))
        elif window is Window.DAY:
            day = (start_us, end_us, str(spent), str(reserved))
        else:
            whole = (str(spent), str(reserved))
    return (
        row.owner, row.subscription_id, row.basis, *period, *day, *whole,
        *row.state[1:], row.sums_kept,
    )  # fmt: skip
