"""Kept states are remembered only as long as nobody else can have changed them."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import FOREVER_US, LimitState, Spend, Window
from proxy.ledger.limit_states import KnownStates, StateRow

pytestmark = pytest.mark.usefixtures("ledger")


def row(spent: int) -> StateRow:
    state = LimitState((Spend(Window.TOTAL, 0, FOREVER_US, Decimal(spent), Decimal(0)),))
    return StateRow(2, 1, "1 UTC ", state, sums_kept=False)


async def test_what_another_connection_committed_is_read(path: Path) -> None:
    ours, theirs = KnownStates(), KnownStates()
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as own,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        ours.write(own, [row(1)])
        assert ours.read(own, [2])[2].state == row(1).state
        theirs.write(other, [row(2)])
        assert ours.read(own, [2])[2].state == row(2).state


async def test_a_new_connection_knows_nothing(path: Path) -> None:
    ours, theirs = KnownStates(), KnownStates()
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        ours.write(first, [row(1)])
        assert ours.read(first, [2])[2].state == row(1).state
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        theirs.write(other, [row(2)])
    with closing(sqlite3.connect(path, isolation_level=None)) as again:
        assert ours.read(again, [2])[2].state == row(2).state


async def test_it_is_not_read_again_while_nobody_commits(path: Path) -> None:
    known = KnownStates()
    with closing(sqlite3.connect(path, isolation_level=None)) as own:
        known.write(own, [row(1)])
        first = known.read(own, [2])[2]
        assert known.read(own, [2])[2] is first
        known.forget()
        assert known.read(own, [2])[2] is not first
