"""A price book, bounded calls and a look at the states, for the tests of limits."""

from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from proxy.core.limits import Spend, Window
from proxy.core.reservations import Bounds
from proxy.core.subscriptions import ApiKey, key_digest
from proxy.ledger.limit_check import LimitDifference, rederive_limits
from proxy.ledger.limit_states import StateRow, read_all_states
from proxy.ledger.port import Ledger, OpenCall, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, database

BOOK = """
currency = "USD"
package_size = 100
[models."gpt-4o"]
match = ["gpt-4o-*"]
context_window = 1000
input = 1
output = 2
[models."packed"]
rounding = "up"
input = 1
output = 1
[plans.small.limits]
spend_per_day = 5
[plans.small.key_limits]
concurrent_requests = 2
"""
"""A cent for an input token, two for an output token."""


async def adopt(ledger: Ledger, text: str = BOOK) -> None:
    await ledger.adopt_book(text, sha256(text.encode()).hexdigest())


def bounded(
    caller: Caller, key: ApiKey, *, into: int = 10, out: int = 20, model: str = "gpt-4o"
) -> OpenCall:
    """A call that costs 0.50 at the most."""
    call = caller.call(key, model=model, body_bytes=into)
    call.bounds = Bounds(model=model, body_bytes=into, output_limit=out)
    return call


def kept(path: Path) -> dict[int, StateRow]:
    with database(path) as connection:
        return {row.owner: row for row in read_all_states(connection, -1, 100)}


def spend(path: Path, window: Window, owner: int = 2) -> Spend:
    (found,) = [s for s in kept(path)[owner].state.spends if s.window is window]
    return found


def spent(path: Path, window: Window = Window.PERIOD, owner: int = 2) -> tuple[Decimal, Decimal]:
    found = spend(path, window, owner)
    return found.spent, found.reserved


def differences(path: Path) -> list[LimitDifference]:
    with database(path) as connection:
        return rederive_limits(connection)[0]


async def limited_key(ledger: SqliteLedger) -> ApiKey:
    """The key of ``make_key``, as it is looked up now."""
    key = await ledger.key(key_digest(b"acmes1"))
    assert key is not None
    return key


async def refusal(ledger: SqliteLedger, caller: Caller) -> Refusal:
    refused = await ledger.open(bounded(caller, await limited_key(ledger)))
    assert isinstance(refused, Refusal)
    return refused
