"""Sums by series: of each quarter hour, and of each day, moved together."""

import sqlite3

from proxy.ledger import statements
from proxy.ledger.late import note_late
from proxy.ledger.slots import QUARTERS_A_DAY


def add_to_sums(connection: sqlite3.Connection, quarters: dict[tuple[int, int], int]) -> None:
    """Add to the sums of the quarters and of their days."""
    if not quarters:
        return
    note_late(connection, quarters)
    days: dict[tuple[int, int], int] = {}
    for (series_id, quarter), quantity in quarters.items():
        slot = series_id, quarter // QUARTERS_A_DAY
        days[slot] = days.get(slot, 0) + quantity
    statements.ADD_TO_QUARTERS.run(connection, [(*at, sum_) for at, sum_ in quarters.items()])
    statements.ADD_TO_DAYS.run(connection, [(*at, sum_) for at, sum_ in days.items()])
