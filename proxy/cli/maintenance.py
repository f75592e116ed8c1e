"""``weighbridge verify``, ``backup`` and ``prune``: the ledger's upkeep, also while it serves."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.output import print_json, say, warn
from proxy.clock import now_us
from proxy.errors import BadRequestError
from proxy.settings import Settings

FAILED = 1
_MONTH = "-01"
_MONTH_LENGTH = len("2026-11")


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Derive all figures from the events again; exit status 1 if any differs."""
    from proxy.ledger.maintenance import maintained  # noqa: PLC0415 - --help needs no database
    from proxy.ledger.verify import Verified  # noqa: PLC0415
    from proxy.ledger.verify import verify as differences  # noqa: PLC0415

    looked_at = Verified()
    with maintained(Settings.load().database_path, up_to_date=True) as connection:
        connection.execute("PRAGMA query_only = ON")
        found = []
        for difference in differences(connection, looked_at):
            found.append(asdict(difference))
            if not as_json:
                say(str(difference))
    counts = asdict(looked_at)
    if as_json:
        print_json({"ok": not found, "differences": found, "checked": counts})
    else:
        checked = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
        say(f"{f'{len(found):,} differences' if found else 'No difference'} in {checked}.")
    if found:
        raise typer.Exit(FAILED)


def backup(
    file: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")],
) -> None:
    """Copy the ledger as of now, durably, while it serves."""
    from proxy.ledger.backup import back_up  # noqa: PLC0415 - --help needs no database
    from proxy.ledger.maintenance import maintained  # noqa: PLC0415

    settings = Settings.load()
    with maintained(settings.database_path, up_to_date=False) as connection:
        size = back_up(connection, file)
    say(f"{file} is a copy of {settings.database_path}: {size:,} bytes. It can be served as it is.")


def prune(
    before: Annotated[
        str, typer.Option(help="The first month or day to keep: 2026-10 or 2026-10-15.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete events and requests of closed periods; their sums and invoices stay."""
    from proxy.ledger.maintenance import maintained  # noqa: PLC0415 - --help needs no database
    from proxy.ledger.pruning_closed import prune as prune_ledger  # noqa: PLC0415

    path = Settings.load().database_path
    with maintained(path, up_to_date=True) as connection:
        pruned = prune_ledger(connection, path, _day(before), now_us())
    if as_json:
        print_json(asdict(pruned))
        return
    say(f"{pruned.events:,} events and {pruned.requests:,} requests went.")
    if not pruned.subscriptions:
        warn(f"no period that ended by {before} is closed: what is not billed yet never goes.")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text + _MONTH if len(text) == _MONTH_LENGTH else text)
    except ValueError:
        raise BadRequestError(
            f"{json.dumps(text)} is no month and no day: write 2026-10 or 2026-10-15."
        ) from None
