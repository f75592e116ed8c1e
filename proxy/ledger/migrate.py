"""The schema, in numbered steps; ``PRAGMA user_version`` says which ones a database has."""

import re
import sqlite3
from importlib import resources

from proxy.errors import SettingsError
from proxy.ledger.connection import OLDEST_SQLITE

APPLICATION_ID = 0x57_42_4C_31
"""``WBL1``: marks the file as a ledger, for us and for ``file(1)``."""

_NAME = re.compile(r"(\d{4})_\w+\.sql")


def migrations() -> list[tuple[int, str]]:
    """Return the steps as (number, SQL), in order."""
    folder = resources.files("proxy.ledger") / "migrations" / "sqlite"
    found = ((_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    return sorted((int(match[1]), file.read_text("utf-8")) for match, file in found if match)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring a database to this program's schema; return its version before.

    Call it under the write lock. Each step is one transaction.

    Raises :class:`SettingsError` for a database that is newer than this program, or no ledger.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        msg = f"SQLite {sqlite3.sqlite_version} is too old: the ledger needs {needed} or later."
        raise SettingsError(msg)
    steps = migrations()
    before = check_version(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    for number, sql in steps:
        if number > before:
            _apply(connection, number, sql)
    return before


def check_version(connection: sqlite3.Connection) -> int:
    """Return a database's schema version, 0 for an empty one.

    Raises :class:`SettingsError` for one that is newer than this program, or no ledger.
    """
    newest = migrations()[-1][0]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and application != APPLICATION_ID:
        msg = "The database is not a Weighbridge ledger: name another file in PROXY_DATABASE_URL."
        raise SettingsError(msg)
    if version > newest:
        msg = (
            f"The ledger's schema is version {version}, this program knows {newest}: "
            "run the program that wrote it, or a later one."
        )
        raise SettingsError(msg)
    return int(version)


def _apply(connection: sqlite3.Connection, number: int, sql: str) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\nCOMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
