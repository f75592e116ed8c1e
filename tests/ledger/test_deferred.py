"""What is deferred, by (upstream, object id): kept with its settlement, and settled once."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from proxy.core.limits import Window
from proxy.core.usage import RequestState
from proxy.errors import LedgerUnavailableError
from proxy.ledger import verify as verification
from proxy.ledger.deferred import REPEATED_NOTE
from proxy.ledger.port import DeferredObject, OpenCall, Settlement
from proxy.ledger.spool import Spool, read_file, write_line
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import (
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    states,
    usage,
)
from tests.ledger.limited import adopt, bounded, spent
from tests.ledger.test_verify import differences

OBJECT = DeferredObject("default", "resp_1")


def deferral(call: OpenCall, made: DeferredObject = OBJECT) -> Settlement:
    settled = settlement(call, usage(), state=RequestState.DEFERRED)
    settled.object = made
    return settled


def final(call: OpenCall) -> Settlement:
    """The settlement by whoever saw the end: it names the key by its digest."""
    return settlement(call, usage(input=100, output=20))


async def test_it_is_found_by_its_id_and_waits(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    call = caller.call(key)
    await ledger.open(call)
    assert await ledger.deferred("resp_1") == []
    assert await ledger.settle(deferral(call))
    (found,) = await ledger.deferred("resp_1")
    assert found == (await ledger.waiting())[0]
    assert (found.request_id, found.upstream, found.object_id) == (call.id, "default", "resp_1")
    assert (found.subscription_id, found.waits) == (key.subscription_id, True)
    assert (found.opened_at_us, found.body_bytes) == (call.opened_at_us, 400)
    assert found.key_digest is not None
    record = await ledger.request(call.id)
    assert record is not None
    assert (record.state, record.object) == ("deferred", OBJECT)
    assert await ledger.settle(final(call))
    (found,) = await ledger.deferred("resp_1")
    assert not found.waits
    assert await ledger.waiting() == []


async def test_pages_of_what_waits(ledger: SqliteLedger, caller: Caller) -> None:
    key = await make_key(ledger)
    calls = [caller.call(key) for _ in range(5)]
    for number, call in enumerate(calls):
        await ledger.open(call)
        await ledger.settle(deferral(call, DeferredObject("default", f"resp_{number}")))
    first = await ledger.waiting(limit=3)
    rest = await ledger.waiting(after=first[-1].request_id, limit=3)
    assert [each.request_id for each in (*first, *rest)] == [call.id for call in calls]


@pytest.mark.parametrize("limited", [False, True])
async def test_any_order_settles_once(
    ledger: SqliteLedger, caller: Caller, path: Path, limited: bool
) -> None:
    await adopt(ledger)
    key = await make_key(ledger)
    if limited:
        await ledger.set_limits({"spend_total": Decimal(50)}, subscription="acme")
        key = await make_key(ledger)
    for number, order in enumerate(("de", "ed", "dde", "dee", "eded")):
        call = bounded(caller, key) if limited else caller.call(key)
        await ledger.open(call)
        made = DeferredObject("default", f"resp_{number}")
        settled = [deferral(call, made) if kind == "d" else final(call) for kind in order]
        # All at once: they share a transaction.
        await asyncio.gather(*(ledger.settle(each) for each in settled))
        assert states(path)[call.id] == "exact"
        assert differences(path) == []
    with database(path) as connection:
        (tokens,) = connection.execute(
            "SELECT sum(quantity) FROM events AS e JOIN series AS s ON s.id = e.series_id"
            " WHERE metric = 'tokens'"
        ).fetchone()
    assert tokens == 5 * 120
    assert_sums_equal_events(path)


async def test_a_second_request_of_an_object_is_billed_with_the_first(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    key = await make_key(ledger)
    first, second, elsewhere = (caller.call(key) for _ in range(3))
    for call in (first, second, elsewhere):
        await ledger.open(call)
    settled = [deferral(first), deferral(second), deferral(elsewhere)]
    settled[2].object = DeferredObject("azure", "resp_1")
    assert all(await asyncio.gather(*(ledger.settle(each) for each in settled)))
    found = states(path)
    assert [found[call.id] for call in (first, second, elsewhere)] == [
        "deferred",
        "exact",
        "deferred",
    ]
    record = await ledger.request(second.id)
    assert record is not None
    assert record.notes == (REPEATED_NOTE,)
    assert [event.metric for event in record.events] == ["requests"]
    assert len(await ledger.deferred("resp_1")) == 2


async def test_a_second_request_of_an_object_holds_nothing_any_more(
    ledger: SqliteLedger, caller: Caller, path: Path
) -> None:
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(5)}, subscription="acme")
    key = await make_key(ledger)
    first, second = bounded(caller, key), bounded(caller, key)
    await asyncio.gather(ledger.open(first), ledger.open(second))
    await ledger.settle(deferral(first))
    # Told twice at once: they are written one by one.
    await asyncio.gather(ledger.settle(deferral(second)), ledger.settle(deferral(second)))
    assert states(path)[second.id] == "exact"
    assert spent(path, Window.TOTAL) == (0, Decimal("0.50"))
    assert differences(path) == []


async def test_a_key_that_never_worked_owns_nothing(ledger: SqliteLedger, caller: Caller) -> None:
    call = caller.call(digest=b"x" * 32)
    await ledger.open(call)
    refused = deferral(call)
    refused.upstream_status = 401
    await ledger.settle(refused)
    assert await ledger.deferred("resp_1") == []


async def test_a_spooled_deferral_is_replayed_by_who_recovers(path: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    ledger = await SqliteLedger.open_database(path, Clock(), spool_directory=spool)
    call = Caller(ledger.worker_id).call(await make_key(ledger))
    await ledger.open(call)
    spooled = Spool(spool, ledger.worker_id, ledger.ledger_id)
    await spooled.append(deferral(call))
    await spooled.append(final(call))
    spooled.close()
    await ledger.close()
    ledger = await SqliteLedger.open_database(path, Clock(), spool_directory=spool)
    assert states(path) == {call.id: "exact"}
    assert [each.waits for each in await ledger.deferred("resp_1")] == [False]
    assert_sums_equal_events(path)
    await ledger.close()


def test_what_an_older_program_spooled_is_read(tmp_path: Path, caller: Caller) -> None:
    line = write_line(deferral(caller.call()))
    file = tmp_path / "worker-1-1.spool"
    file.write_bytes(line)
    (read,) = read_file(file)
    assert read.object == OBJECT
    older = write_line(settlement(caller.call()))
    assert b'"object":null' in older
    file.write_bytes(older)
    (read,) = read_file(file)
    assert read.object is None


async def test_recovery_keeps_what_is_deferred_and_its_reservation(path: Path) -> None:
    ledger = await SqliteLedger.open_database(path, Clock())
    await adopt(ledger)
    await make_key(ledger)
    await ledger.set_limits({"spend_total": Decimal(2)}, subscription="acme")
    key = await make_key(ledger)
    call = bounded(Caller(ledger.worker_id), key)
    await ledger.open(call)
    await ledger.settle(deferral(call))
    await ledger.close()
    ledger = await SqliteLedger.open_database(path, Clock())
    await ledger.recover()
    assert states(path) == {call.id: "deferred"}
    assert spent(path, Window.TOTAL) == (0, Decimal("0.50"))
    assert await ledger.settle(final(call))
    assert spent(path, Window.TOTAL) == (Decimal("1.40"), 0)
    assert differences(path) == []
    await ledger.close()


async def test_a_closed_ledger_says_so(path: Path) -> None:
    ledger = await SqliteLedger.open_database(path, Clock())
    call = Caller(ledger.worker_id).call(await make_key(ledger))
    await ledger.close()
    with pytest.raises(LedgerUnavailableError):
        await ledger.settle(deferral(call))


async def test_verify_holds_objects_to_their_requests(
    ledger: SqliteLedger, caller: Caller, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE", 2)
    key = await make_key(ledger)
    other = await make_key(ledger, "other")
    for number in range(5):
        call = caller.call(key)
        await ledger.open(call)
        await ledger.settle(deferral(call, DeferredObject("default", f"resp_{number}")))
    assert differences(path) == []
    with database(path) as connection:
        connection.execute(
            "UPDATE deferred SET subscription_id = ? WHERE object_id = 'resp_3'",
            (other.subscription_id,),
        )
    assert [found.what for found in differences(path)] == ["object"]
    with database(path) as connection:
        connection.execute("DELETE FROM requests")  # as pruning does
    assert differences(path) == []
    (found, *_) = await ledger.deferred("resp_1")
    assert (found.waits, found.subscription_id) == (False, key.subscription_id)
