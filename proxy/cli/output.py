"""What commands print: tables and next steps for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_FILE_WIDTH = 200
"""Columns of a table that goes into a file or a pipe: nothing is cut for a screen there."""


def print_json(value: Any) -> None:
    """Print a value as JSON, on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[str] = frozenset()
) -> None:
    """Print a table; the columns in ``right`` hold figures and are aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def say(text: str) -> None:
    """Print a line for people, as it is."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Print a line for people that needs their attention."""
    sys.stderr.write(f"weighbridge: {text}\n")


def moment(at: datetime | None) -> str:
    """Write a moment, UTC, to the second; empty for none."""
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%SZ")


def console() -> Console:
    """Return the console for standard output; keys and names are never taken for markup."""
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
