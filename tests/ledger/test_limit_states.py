"""What was read of states holds only as long as nobody else can have changed them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from proxy.ledger.limit_states import OtherWriters

pytestmark = pytest.mark.usefixtures("ledger")

WRITE = "INSERT INTO meta (name, value) VALUES (?, 1)"


async def test_what_another_connection_commits_is_noticed(path: Path) -> None:
    others = OtherWriters()
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as own,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        assert others.wrote(own)
        assert not others.wrote(own)
        other.execute(WRITE, ("theirs",))
        assert others.wrote(own)
        own.execute(WRITE, ("ours",))
        assert not others.wrote(own)


async def test_a_new_connection_knows_nothing(path: Path) -> None:
    others = OtherWriters()
    with closing(sqlite3.connect(path, isolation_level=None)) as first:
        assert others.wrote(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as again:
        assert others.wrote(again)
        assert not others.wrote(again)
