"""Statements that write any number of rows in one step write those rows, and no others."""

import re
import sqlite3

import pytest

from proxy.ledger.statements import CHUNK_ROWS, BulkStatement

ROW = re.compile(r"\(\d,\d\)")
INSERT = BulkStatement("INSERT INTO pairs (a, b) SELECT v.column1, v.column2 + ?", 2, "AND ?")


@pytest.mark.parametrize(
    "number", [*range(71), CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 193]
)
def test_any_number_of_rows_is_written_as_it_is(number: int) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
    rows = [(n, n * n) for n in range(1, number + 1)]
    assert INSERT.run(connection, rows, before=(7,), after=(1,)) == number
    written = connection.execute("SELECT a, b FROM pairs ORDER BY a").fetchall()
    connection.close()
    assert written == [(n, n * n + 7) for n, _ in rows]


def test_the_texts_of_a_statement_are_few_and_little_of_them_is_filling() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
    texts: list[str] = []
    connection.set_trace_callback(texts.append)
    for number in range(1, CHUNK_ROWS + 1):
        INSERT.run(connection, [(1, 1)] * number, before=(0,), after=(1,))
    connection.close()
    sizes = [len(ROW.findall(text)) for text in texts]
    assert all(number <= size < 1.5 * number for number, size in enumerate(sizes, start=1))
    assert len(set(sizes)) == 16
