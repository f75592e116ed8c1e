"""What one subscription, one address and one stranger may have."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proxy.core.subscriptions import key_digest
from proxy.demo.scripted import Ending, steps, whole
from proxy.errors import OverloadedError
from proxy.ledger import pruning
from proxy.ledger.sqlite import SqliteLedger
from proxy.metering.drains import Drains
from proxy.web.shares import MAX_ADDRESSES, OpenShares, Strangers, TooManyRequestsError
from tests.e2e.raw_http import request
from tests.ledger.calls import START_US, Caller, Clock, settlement, states
from tests.overload.serving import OK, gathered, serving

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[]}'
MINUTE_US = 60_000_000
USAGE = "/usage/current"


def view(path: str, key: str) -> bytes:
    return request(path, method="GET", key=key)


async def test_one_subscription_has_its_share_of_what_may_run(tmp_path: Path) -> None:
    async with serving(
        tmp_path, max_open_requests=6, max_open_requests_per_subscription=3
    ) as proxy:
        greedy, modest = await proxy.key("greedy"), await proxy.key("modest")
        assert (await proxy.ask(request(CHAT, key=greedy, body=BODY)))[0] == 200
        await proxy.at_rest()
        proxy.answers(steps(Ending.HANG))
        for _ in range(3):
            await (await proxy.connect()).send(request(CHAT, key=greedy, body=BODY))
        while proxy.states().count("open") < 3:
            await asyncio.sleep(0.01)
        status, headers, said = await proxy.ask(request(CHAT, key=greedy, body=BODY))
        assert (status, headers[b"retry-after"]) == (429, b"1")
        assert json.loads(said)["error"]["code"] == "rate_limit_exceeded"
        proxy.answers(steps(OK))
        assert (await proxy.ask(request(CHAT, key=modest, body=BODY)))[0] == 200
        proxy.answers(steps(Ending.HANG))
        for _ in range(3):
            await (await proxy.connect()).send(request(CHAT, key=modest, body=BODY))
        while proxy.states().count("open") < 6:
            await asyncio.sleep(0.01)
        status, headers, said = await proxy.ask(request(CHAT, key=modest, body=BODY))
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert json.loads(said)["error"]["code"] == "proxy_overloaded"
        assert proxy.upstream.connections <= 7
        assert await proxy.leftovers() == {}


async def test_views_of_usage_count_as_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(
        tmp_path, max_open_requests=6, max_open_requests_per_subscription=2
    ) as proxy:
        greedy, modest = await proxy.key("greedy"), await proxy.key("modest")
        assert (await proxy.ask(request(CHAT, key=greedy, body=BODY)))[0] == 200
        await proxy.at_rest()
        ledger, released = proxy.application.ledger, asyncio.Event()
        limits, asked = ledger.limits, Counter[str]()

        async def hang(subscription: str, **more: Any) -> Any:
            asked[subscription] += 1
            if subscription == "greedy":
                await released.wait()
            return await limits(subscription, **more)

        monkeypatch.setattr(ledger, "limits", hang)
        wires = [await proxy.connect() for _ in range(2)]
        for wire in wires:
            await wire.send(view(USAGE, greedy))
        while asked["greedy"] < 2:
            await asyncio.sleep(0.01)
        for refused in (view(USAGE, greedy), view("/usage/invoice", greedy)):
            status, headers, said = await proxy.ask(refused)
            assert (status, headers[b"retry-after"]) == (429, b"1")
            assert json.loads(said)["error"]["code"] == "rate_limit_exceeded"
        assert (await proxy.ask(request(CHAT, key=greedy, body=BODY)))[0] == 429
        assert (await proxy.ask(view(USAGE, modest)))[0] == 200
        assert (await proxy.ask(view("/healthz", greedy)))[0] == 200
        assert asked["greedy"] == 2
        released.set()
        assert [(await wire.answer())[0] for wire in wires] == [200, 200]
        assert (await proxy.ask(view(USAGE, greedy)))[0] == 200
        assert await proxy.leftovers() == {}


async def test_views_of_usage_have_no_room_where_nothing_has(tmp_path: Path) -> None:
    async with serving(tmp_path, max_open_requests=1) as proxy:
        key = await proxy.key()
        await proxy.at_rest()
        proxy.answers(steps(Ending.HANG))
        await (await proxy.connect()).send(request(CHAT, key=key, body=BODY))
        while proxy.states().count("open") < 1:
            await asyncio.sleep(0.01)
        assert (await proxy.ask(view(USAGE, key)))[0] == 503
        assert (await proxy.ask(view("/readyz", key)))[0] == 200
        assert await proxy.leftovers() == {}


async def test_a_view_without_a_key_is_nobodys(tmp_path: Path) -> None:
    async with serving(tmp_path) as proxy:
        assert (await proxy.ask(b"GET /usage/current HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 401
        assert (await proxy.ask(view(USAGE, "wb-of-nobody")))[0] == 401
        assert proxy.application.router._gateway._open.total == 0


async def test_unknown_keys_may_fail_so_often_from_one_address(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        assert (await proxy.ask(request(CHAT, key="sk-good", body=BODY)))[0] == 200
        proxy.answers(steps(whole(401, b'{"error":{"message":"no"}}')))
        statuses = [
            (await proxy.ask(request(CHAT, key=f"sk-bad-{n}", body=BODY)))[0] for n in range(80)
        ]
        assert statuses[:58] == [401] * 58
        assert statuses[-5:] == [429] * 5
        assert len(proxy.states()) == 1 + statuses.count(401)
        proxy.answers(steps(OK))
        # Whose key is known to work is not concerned (the ledger's changes are seen soon).
        keys, good = proxy.application.keys._keys, key_digest(b"sk-good")
        while good in keys and keys[good] is None:
            await asyncio.sleep(0.01)
        assert (await proxy.ask(request(CHAT, key="sk-good", body=BODY)))[0] == 200


async def test_new_keys_that_work_are_welcome(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        for number in range(70):
            answer = await proxy.ask(request(CHAT, key=f"sk-good-{number}", body=BODY))
            assert answer[0] == 200


def asking(key: str) -> bytes:
    return request(CHAT, key=key, body=BODY)


async def test_a_new_key_that_works_may_come_many_times_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        proxy.answers(steps(0.3, OK))
        answers = await gathered(proxy.ask(asking("sk-new")) for _ in range(150))
        assert {status for status, _, _ in answers} == {200}


async def test_a_new_key_is_welcome_once_its_answer_begins(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        begun = OK.partition(b"{")[0]
        proxy.answers(steps(begun, Ending.HANG))
        wires = [await proxy.connect() for _ in range(70)]
        async with asyncio.timeout(10):
            for number, wire in enumerate(wires):
                await wire.send(asking(f"sk-{number}"))
                while len(proxy.states()) <= number:
                    await asyncio.sleep(0.001)
        assert proxy.states().count("open") == 70


async def test_a_key_that_fails_many_times_at_once_uses_the_allowance_up(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        proxy.answers(steps(0.3, whole(401, b"{}")))
        answers = await gathered(proxy.ask(asking("sk-bad")) for _ in range(100))
        assert {status for status, _, _ in answers} == {401}
        for key in ("sk-bad", "sk-other"):
            assert (await proxy.ask(asking(key)))[0] == 429


def test_shares_come_back_as_they_were_taken() -> None:
    shares = OpenShares(3, 2)
    for owner in ("a", "a"):
        shares.enter()
        shares.claim(owner)
    shares.enter()
    with pytest.raises(TooManyRequestsError):
        shares.claim("a")
    shares.leave(None)
    shares.enter()
    shares.claim("b")
    with pytest.raises(OverloadedError):
        shares.enter()
    for left in (None, "a", "a", "b"):
        shares.leave(left)
    assert (shares.total, shares._by_owner) == (0, {})


def test_no_share_is_no_bound() -> None:
    shares = OpenShares(10, 0)
    for _ in range(10):
        shares.enter()
        shares.claim("a")
    for _ in range(10):
        shares.leave("a")
    assert shares.total == 0


def fail(strangers: Strangers, address: str, times: int = 1) -> None:
    for number in range(times):
        strangers.enter(address, b"%d" % number).leave()


def test_an_address_regains_its_allowance() -> None:
    clock = Clock()
    strangers = Strangers(clock, 60)
    welcome = strangers.enter("10.0.0.1", b"good")
    fail(strangers, "10.0.0.1", 59)
    with pytest.raises(TooManyRequestsError):
        fail(strangers, "10.0.0.1")
    fail(strangers, "10.0.0.2")
    welcome.welcome()
    fail(strangers, "10.0.0.1")
    welcome.leave()
    clock.us += MINUTE_US // 60
    fail(strangers, "10.0.0.1")
    with pytest.raises(TooManyRequestsError):
        fail(strangers, "10.0.0.1")
    clock.us -= MINUTE_US
    with pytest.raises(TooManyRequestsError):
        fail(strangers, "10.0.0.1")


def test_requests_with_one_key_share_what_it_takes() -> None:
    strangers = Strangers(Clock(), 2)
    stranger = strangers.enter("10.0.0.1", b"key")
    for _ in range(9):
        assert strangers.enter("10.0.0.1", b"key") is stranger
    other = strangers.enter("10.0.0.1", b"other")
    with pytest.raises(TooManyRequestsError):
        strangers.enter("10.0.0.1", b"another")
    stranger.welcome()
    stranger.welcome()
    for _ in range(10):
        stranger.leave()  # of a key that works, none is a failure
    other.leave()
    strangers.enter("10.0.0.1", b"another")
    assert strangers.running == 1


def test_each_failure_counts_and_is_paid_off() -> None:
    clock = Clock()
    strangers = Strangers(clock, 2)
    stranger, *others = [strangers.enter("10.0.0.1", b"key") for _ in range(100)]
    for other in others:
        other.leave()
    with pytest.raises(TooManyRequestsError):
        strangers.enter("10.0.0.1", b"key")
    stranger.leave()
    clock.us += MINUTE_US
    with pytest.raises(TooManyRequestsError):
        fail(strangers, "10.0.0.1")
    clock.us += MINUTE_US  # it never owes more than a minute's
    fail(strangers, "10.0.0.1", 2)
    assert strangers.running == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("no:address", "no:address", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_whose_address_it_is(one: str, other: str, same: bool) -> None:
    strangers = Strangers(Clock(), 60)
    fail(strangers, one)
    fail(strangers, other)
    assert strangers.remembered == (1 if same else 2)


def test_addresses_are_forgotten() -> None:
    strangers = Strangers(Clock(), 1)
    for number in range(MAX_ADDRESSES + 100):
        fail(strangers, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert strangers.remembered == MAX_ADDRESSES


def test_drains_are_counted_by_whose_they_are() -> None:
    drains = Drains(2)
    assert [drains.enter(owner) for owner in ("a", "a", "a", "b")] == [True, True, False, True]
    assert drains.running == 3
    for owner in ("a", "a", "b"):
        drains.leave(owner)
    assert (drains.running, drains._by_owner) == (0, {})


async def test_failures_of_unknown_keys_are_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PAGE", 3)
    clock, caller = Clock(), Caller()
    ledger = await SqliteLedger.open_database(tmp_path / "ledger.db", clock)
    kept = []
    for number in range(10):
        call = caller.call(digest=bytes([number]) * 32)
        await ledger.open(call)
        await ledger.settle(settlement(call, status=401))
    working, running = caller.call(digest=b"w" * 32), caller.call(digest=b"r" * 32)
    for call in (working, running):
        await ledger.open(call)
        kept.append(call.id)
    await ledger.settle(settlement(working))
    caller.at_us += 10_000_000
    late = caller.call(digest=b"l" * 32)
    await ledger.open(late)
    await ledger.settle(settlement(late, status=401))
    kept.append(late.id)
    assert await ledger.prune_unowned(START_US) == 0
    assert await ledger.prune_unowned(START_US + 5_000_000) == 10
    assert sorted(states(tmp_path / "ledger.db")) == sorted(kept)
    await ledger.close()


async def test_made_up_secrets_are_not_remembered_at_length(tmp_path: Path) -> None:
    async with serving(tmp_path) as proxy:
        for number in range(20):
            status, _, _ = await proxy.ask(
                request(CHAT, key=f"{number}-" + "x" * 60_000, body=BODY)
            )
            assert status == 401
        assert not proxy.application.keys._digests
