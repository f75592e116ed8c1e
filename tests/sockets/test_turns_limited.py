"""Turns and what bounds them: budgets, rates, the ledger, a client that leaves, a kill."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.metering.turn_session import TURNS_MAX
from tests.crash.harness import hold_ledger, spooled
from tests.proxy_process import until
from tests.sockets.conftest import StartProxy
from tests.sockets.test_realtime import settled
from tests.sockets.test_turns import check, create, heard, opened, turns
from tests.sockets.turns_upstream import answer, begin_turn, each, end_turn
from tests.sockets.upstream import Socket, SocketUpstream

LONG = "x" * 200


def prices(folder: Path, limits: str) -> Path:
    """A window of 100 tokens at a cent each, and 10 of output: $1.10 at worst, $1.07 in truth."""
    file = folder / "prices.toml"
    file.write_text(
        'package_size = 1\n[models."gpt-5"]\nmatch = ["gpt-5-2*"]\ncontext_window = 100\n'
        f"max_output = 10\ninput = 0.01\noutput = 0.01\n[plans.tight.limits]\n{limits}\n"
    )
    return file


async def states(proxy: Any, *expected: str) -> None:
    await asyncio.to_thread(until, lambda: [row["state"] for row in turns(proxy)] == [*expected])


async def test_a_budget_is_not_overrun_by_lanes_that_race(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    async def two_then_each(socket: Socket) -> None:
        asked = [await socket.hear() for _ in range(2)]
        begun = [await begin_turn(socket, turn) for turn in asked]
        await asyncio.sleep(0.5)
        for turn, response in zip(asked, begun, strict=True):
            await end_turn(socket, turn, response)
        await each(answer)(socket)

    upstream.script = two_then_each
    proxy = start_proxy(pricing_file=prices(tmp_path, "spend_total = 3.00"))
    key = proxy.key(plan="tight")
    async with opened(proxy, key) as socket:
        for lane in "abc":
            await create(socket, input=LONG, stream_id=lane)
        event = await heard(socket)
        assert (event["error"]["code"], event["stream_id"]) == ("rate_limit_exceeded", "c")
        assert (event["status"], event["error"]["headers"]["retry-after"]) == (429, "1")
        for _ in range(2):
            assert (await heard(socket))["type"] == "response.completed"
        await create(socket, input=LONG)
        event = await heard(socket)
        assert (event["error"]["code"], event["status"]) == ("insufficient_quota", 429)
        assert event["error"]["headers"] == {"x-should-retry": "false"}
    await settled(proxy, 3)
    check(proxy, 2)
    (spend,) = (await asyncio.to_thread(proxy.usage, key))["budget"]["spend"].values()
    assert (spend["spent"], spend["reserved"]) == ("2.14", "0.00")


@pytest.mark.parametrize("limits", ["requests_per_minute = 2", "tokens_per_minute = 100"])
async def test_rates_hold_for_turns(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path, limits: str
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy(pricing_file=prices(tmp_path, limits))
    async with opened(proxy, proxy.key(plan="tight")) as socket:
        await create(socket)
        assert (await heard(socket))["type"] == "response.completed"
        await create(socket)
        event = await heard(socket)
        assert event["error"]["code"] == "rate_limit_exceeded"
        assert event["error"]["headers"]["retry-after"]


async def test_a_socket_takes_no_place_of_a_turn(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    async def held(socket: Socket) -> None:
        turn = await socket.hear()
        response = await begin_turn(socket, turn)
        await asyncio.sleep(0.5)
        await end_turn(socket, turn, response)
        await each(answer)(socket)

    upstream.script = held
    proxy = start_proxy(pricing_file=prices(tmp_path, "concurrent_requests = 1"))
    async with opened(proxy, proxy.key(plan="tight")) as socket:
        for lane in "ab":
            await create(socket, stream_id=lane)
        assert (await heard(socket))["error"]["code"] == "rate_limit_exceeded"
        assert (await heard(socket))["type"] == "response.completed"
        await create(socket)
        assert (await heard(socket))["type"] == "response.completed"


async def test_turns_of_a_socket_are_bounded(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def never(socket: Socket) -> None:
        while await socket.hear() is not None:
            pass

    upstream.script = never
    proxy = start_proxy(drain_timeout_s=0.3)
    async with opened(proxy, proxy.key()) as socket:
        for _ in range(TURNS_MAX + 1):
            await create(socket)
        event = await heard(socket)
        assert (event["error"]["code"], event["status"]) == ("proxy_overloaded", 503)
        assert len(upstream.sockets[0].heard) == TURNS_MAX
        await socket.close()
    await settled(proxy, TURNS_MAX + 1)


async def test_a_ledger_that_can_not_be_written_lets_no_turn_up(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy(settle_timeout=0.5)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 3)
        await create(socket)
        await asyncio.sleep(1)
        assert len(upstream.sockets[0].heard) == 1
        await asyncio.to_thread(holder.wait)
        assert (await heard(socket))["type"] == "response.completed"
    holder.stdout.close()  # type: ignore[union-attr]
    await settled(proxy, 3)
    check(proxy, 2)


async def test_a_settlement_that_the_ledger_does_not_take_goes_to_the_spool(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    go = asyncio.Event()

    async def waits(socket: Socket, turn: Any) -> None:
        response = await begin_turn(socket, turn)
        await go.wait()
        await end_turn(socket, turn, response)

    upstream.script = each(waits)
    proxy = start_proxy(settle_timeout=0.5)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        assert json.loads((await socket.receive()).data)["type"] == "response.created"
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 4)
        go.set()
        assert (await heard(socket))["type"] == "response.completed"
        assert spooled(proxy) == 1
        await asyncio.to_thread(holder.wait)
        await asyncio.to_thread(until, lambda: not spooled(proxy))
    holder.stdout.close()  # type: ignore[union-attr]
    await settled(proxy, 2)
    check(proxy, 1)


async def test_what_neither_ledger_nor_spool_takes_is_settled_once_the_ledger_does(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    """An answer that has ended is exact, one that was cut with it is abandoned; none stays open."""
    run, go = asyncio.Event(), asyncio.Event()

    async def first_ends(socket: Socket) -> None:
        turns = [await socket.hear() for _ in range(2)]
        responses = [await begin_turn(socket, turn) for turn in turns]
        run.set()
        await go.wait()
        await end_turn(socket, turns[0], responses[0])
        await socket.hear()

    upstream.script = first_ends
    proxy = start_proxy(settle_timeout=0.5)
    async with opened(proxy, proxy.key()) as socket:
        for _ in range(2):
            await create(socket)
        await run.wait()
        holder = await asyncio.to_thread(hold_ledger, proxy.database, 3)
        proxy.database.with_name(proxy.database.name + ".spool").write_text("no folder")
        go.set()
        with pytest.raises(AssertionError):
            await heard(socket)
        await asyncio.to_thread(holder.wait)
    holder.stdout.close()  # type: ignore[union-attr]
    requests = await settled(proxy, 3)
    assert sorted(request["state"] for request in requests) == ["abandoned", "exact", "exact"]
    proxy.check_sums()


@pytest.mark.parametrize("how", ["close frame", "reset"])
@pytest.mark.parametrize("on_disconnect", ["drain", "cancel"])
async def test_a_client_that_leaves_within_an_answer_pays_for_it(
    upstream: SocketUpstream, start_proxy: StartProxy, how: str, on_disconnect: str
) -> None:
    async def slowly(socket: Socket, turn: Any) -> None:
        response = await begin_turn(socket, turn)
        leaving = asyncio.create_task(socket.hear())
        await asyncio.wait([leaving], timeout=1)
        if not leaving.done():
            await end_turn(socket, turn, response)
        await leaving

    upstream.script = each(slowly)
    proxy = start_proxy(on_disconnect=on_disconnect)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await socket.receive()
        if how == "reset":
            socket._conn.transport.abort()  # type: ignore[union-attr]
        else:
            await socket.close()
    await settled(proxy, 2)
    (row,) = turns(proxy)
    if on_disconnect == "drain":
        assert row["state"] == "exact"
        check(proxy, 1)
    else:
        assert row["state"] == "partial"
        assert "an answer was running when the socket ended" in row["notes"]
        assert set(proxy.tokens()) == {"input"}


@pytest.mark.parametrize(("begun", "state"), [(True, "partial"), (False, "failed")])
async def test_the_upstream_hangs_up(
    upstream: SocketUpstream, start_proxy: StartProxy, begun: bool, state: str
) -> None:
    async def breaks(socket: Socket) -> None:
        turn = await socket.hear()
        if begun:
            await begin_turn(socket, turn)

    upstream.script = breaks
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        with pytest.raises(AssertionError):
            await heard(socket)
    await states(proxy, state)
    await settled(proxy, 2)
    assert set(proxy.tokens()) == ({"input"} if begun else set())
    proxy.check_sums()


async def test_sigterm_ends_sessions_and_settles_their_turns(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    async def run_on(socket: Socket) -> None:
        await answer(socket, await socket.hear())
        await begin_turn(socket, await socket.hear())
        await socket.hear()

    upstream.script = run_on
    proxy = start_proxy(shutdown_grace_s=0.3)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
        await create(socket)
        for _ in range(2):
            await socket.receive()
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        assert json.loads((await socket.receive()).data)["type"] == "error"
        closing = await socket.receive()
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await socket.close()
        assert await ending == 0
    assert [row["state"] for row in turns(proxy)] == ["exact", "partial"]
    proxy.check_sums()


async def test_what_are_no_frames_ends_the_session(
    upstream: SocketUpstream, start_proxy: StartProxy
) -> None:
    upstream.script = each(answer)
    proxy = start_proxy()
    async with opened(proxy, proxy.key()) as socket:
        await create(socket)
        await heard(socket)
        socket._writer.transport.write(b"\x83\x00")
        assert (await heard(socket))["error"]["code"] == "invalid_body"
        assert (await socket.receive()).data == 1008
    await settled(proxy, 2)
    check(proxy, 1)


@pytest.mark.parametrize(
    ("point", "state"),
    [
        ("turn_opened", "abandoned"),
        ("turn_sent", "abandoned"),
        ("turn_measured", "abandoned"),
        ("turn_settled", "exact"),
        ("session_measured", "exact"),
    ],
)
async def test_killed_in_the_middle(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path, point: str, state: str
) -> None:
    upstream.script = each(answer)
    sign = tmp_path / "sign"
    proxy = start_proxy(program=("-m", "tests.e2e.crashing_proxy", "kill", point, str(sign)))
    async with opened(proxy, proxy.key()) as socket:
        try:
            await create(socket)
            await heard(socket)
        except (AssertionError, aiohttp.ClientError):
            assert point != "session_measured"
        await socket.close()
        await asyncio.to_thread(until, sign.exists)
    proxy.end()
    proxy.start()
    await settled(proxy, 2)
    await states(proxy, state)
    proxy.check_sums()
    if state == "exact":
        check(proxy, 1)


async def test_a_turn_for_another_upstream_is_refused(
    upstream: SocketUpstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    upstream.script = each(answer)
    table = tmp_path / "upstreams.toml"
    table.write_text(
        '[[upstream]]\nname = "other"\nbase_url = "http://127.0.0.1:9/v1"\n'
        'api_key = "sk-other"\nmodels = ["o1*"]\n'
    )
    proxy = start_proxy(upstreams_file=table)
    async with opened(proxy, proxy.key()) as socket:
        await create(socket, model="o1")
        event = await heard(socket)
        assert (event["error"]["param"], event["status"]) == ("model", 400)
        assert "?model=" in event["error"]["message"]
        await create(socket)
        assert (await heard(socket))["type"] == "response.completed"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with opened(proxy, proxy.key(), "?model=o1"):
            pass
