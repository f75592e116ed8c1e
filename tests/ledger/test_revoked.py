"""A revoked key opens nothing more, whoever learns first that the configuration has changed."""

from pathlib import Path

import pytest

from proxy.core.subscriptions import ApiKey
from proxy.ledger import identities
from proxy.ledger.port import ADMITTED, Refusal
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, database, make_key, settlement


async def refused(ledger: SqliteLedger, caller: Caller, key: ApiKey) -> bool:
    outcome = await ledger.open(caller.call(key))
    return isinstance(outcome, Refusal) and outcome.status == 401


async def test_after_a_neighbours_opening(ledger: SqliteLedger, caller: Caller) -> None:
    key, other = await make_key(ledger), await make_key(ledger, "other")
    assert await ledger.open(caller.call(key)) == ADMITTED
    await ledger.revoke_key(key.prefix)
    assert await ledger.open(caller.call(other)) == ADMITTED
    assert await refused(ledger, caller, key)
    assert await refused(ledger, caller, key)
    assert await ledger.open(caller.call(other)) == ADMITTED


async def test_after_its_own_settlement(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    assert await ledger.open(call) == ADMITTED
    await ledger.revoke_key(key.prefix)
    assert await ledger.settle(settlement(call))
    assert await refused(ledger, caller, key)


async def test_after_a_restart(ledger: SqliteLedger, caller: Caller, path: Path) -> None:
    """A worker that has met nobody yet believes its own key ring no more than another."""
    key, other = await make_key(ledger), await make_key(ledger, "other")
    await ledger.revoke_key(key.prefix)
    again = await SqliteLedger.open_database(path)
    assert await again.open(caller.call(other)) == ADMITTED
    assert await refused(again, caller, key)
    await again.close()


async def test_what_is_known_of_keys_is_bounded(
    ledger: SqliteLedger, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_REMEMBERED", 2)
    keys = [await make_key(ledger, f"customer-{n}") for n in range(5)]
    for key in keys * 2:
        assert await ledger.open(caller.call(key)) == ADMITTED
    known = ledger._booking._identities
    assert len(known._working) <= 3
    await ledger.revoke_key(str(keys[0].id))
    assert [await refused(ledger, caller, key) for key in keys] == [True, *[False] * 4]


async def test_it_is_looked_up_once_a_configuration(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    """Past the ledger, so that the configuration stays as it is: what is known is not read."""
    key = await make_key(ledger)
    assert await ledger.open(caller.call(key)) == ADMITTED
    with database(path) as connection:
        connection.execute("UPDATE api_keys SET revoked_at_us = 1")
    assert await ledger.open(caller.call(key)) == ADMITTED
