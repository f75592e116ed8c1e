"""Limits, queues and what else was lost: cases 13 to 20, and those without a number."""

import asyncio
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.scripted import Ending, steps, whole
from proxy.errors import LedgerUnavailableError
from proxy.ledger import rows as ledger_rows
from proxy.ledger.locks import WriteLock
from proxy.ledger.port import Admission, Refusal
from proxy.ledger.sqlite import SqliteLedger
from proxy.ledger.standing import read_standing
from proxy.metering.estimator import ThreadEstimator
from proxy.wire.answers import AnswerText
from tests.e2e.raw_http import request
from tests.e2e.scripted_thread import ScriptedThread
from tests.failures.asking import (
    COST,
    DONE,
    END,
    FIGURES,
    HEAD,
    JSON,
    amount,
    ask,
    chat,
    completion,
    counted,
    customer,
    delta,
    figures,
    last,
    tokens,
    used,
)
from tests.ledger.calls import (
    START,
    START_US,
    Caller,
    Clock,
    assert_sums_equal_events,
    database,
    make_key,
    settlement,
    states,
)
from tests.ledger.limited import adopt, bounded
from tests.proxy_process import ProxyProcess, until
from tests.tokens.bounded import check_is_counted_in_bounds
from tests.wire.usage import failures


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def open_ledger(path: Path, **more: Any) -> SqliteLedger:
    return await SqliteLedger.open_database(path, Clock(), **more)


async def test_case_13_concurrent_requests_share_one_budget(path: Path) -> None:
    """litellm#34732, #40095: check, then act: all of them passed the check."""
    ledgers = [await open_ledger(path) for _ in range(2)]
    await adopt(ledgers[0])
    await make_key(ledgers[0])
    await ledgers[0].set_limits({"spend_total": Decimal("1.20")}, subscription="acme")
    key = await make_key(ledgers[0])
    callers = [Caller(worker) for worker in (1, 2)]
    calls = [bounded(callers[n % 2], key) for n in range(40)]
    outcomes = await asyncio.gather(*(ledgers[n % 2].open(call) for n, call in enumerate(calls)))
    admitted = [
        call for call, one in zip(calls, outcomes, strict=True) if isinstance(one, Admission)
    ]
    assert len(admitted) == 2  # at 0.50 each
    assert {one.code for one in outcomes if isinstance(one, Refusal)} == {"rate_limit_exceeded"}
    for ledger in ledgers:
        await ledger.close()


async def test_case_14_cancellation_releases_what_was_reserved(path: Path) -> None:
    """litellm#27639: CancelledError is no Exception, so the reservation stayed: false 429s."""
    ledger = await open_ledger(path)
    await adopt(ledger)
    await make_key(ledger)
    limits = {"spend_total": Decimal("0.60"), "concurrent_requests": 1}
    await ledger.set_limits(limits, subscription="acme")
    key, caller = await make_key(ledger), Caller()
    for _ in range(5):
        given_up = asyncio.ensure_future(ledger.open(bounded(caller, key)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await ledger.recover()
        await ledger.recover()
    assert isinstance(await ledger.open(bounded(caller, key)), Admission)
    assert list(states(path).values()) == ["failed"] * 5 + ["open"]
    await ledger.close()


def test_case_15_a_reload_in_a_stream_prices_it(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm#30081: a reload of the prices priced 77 streams at $0. (#20409: there was none.)"""
    key = customer(proxy)
    prices = proxy.database.with_name("pricing.toml")
    before = prices.read_text()
    stream = (HEAD, *(part for _ in range(20) for part in (delta(), 0.1)), last(), DONE, END)
    upstream.answers(steps(*stream))
    started = time.monotonic()
    try:
        prices.write_text("this is no TOML")
        draft = prices.with_suffix(".draft")
        draft.write_text(before.replace("output = 10.00", "output = 20.00"))
        draft.rename(prices)
        assert ask(proxy, chat(key, stream=True)).whole
        assert time.monotonic() - started > 1
        until(lambda: amount(used(proxy, key)) == COST + 10)
    finally:
        prices.write_text(before)
    until(lambda: amount(used(proxy, key)) == COST)
    assert counted(used(proxy, key)) == {"exact": 1}


def test_case_16_an_unknown_model_is_never_free(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm PR #35914: an unknown model was $0, in silence."""
    key = customer(proxy)
    upstream.answers(steps(completion(model="unheard-of")))
    ask(proxy, chat(key, model="unheard-of"))
    usage = used(proxy, key)
    lines = [line for line in usage["lines"] if line["metric"] == "tokens"]
    assert {(line["amount"], line["priced_as"]) for line in lines} == {(None, None)}
    assert counted(usage) == {"exact": 1, "unpriced": 1}


def steps_of(path: Path, work: Any) -> int:
    """Count the steps of SQLite's machine that some reading takes, in hundreds."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with database(path) as connection:
        connection.set_progress_handler(step, 100)
        work(connection)
    return count


async def test_case_17_what_a_request_reads_does_not_grow(path: Path) -> None:
    """litellm#35766: no index, 1.18 s on the request path. bifrost#1665: bodies filled the disk."""
    ledger = await open_ledger(path)
    key, caller = await make_key(ledger), Caller()
    windows = [START, START.replace(day=31)]
    costs, sizes = [], []
    for _ in range(2):
        for _ in range(20):
            calls = [caller.call(key, body_bytes=1 << 20) for _ in range(100)]
            await asyncio.gather(*(ledger.open(call) for call in calls))
            await asyncio.gather(*(ledger.settle(settlement(call)) for call in calls))
        costs.append(
            steps_of(path, lambda db: read_standing(db, "acme", windows, START_US))
            + steps_of(path, lambda db: ledger_rows.read_key(db, b"x" * 32, START_US))
        )
        sizes.append(path.stat().st_size + path.with_name(path.name + "-wal").stat().st_size)
    assert costs[1] <= costs[0] + 1
    assert sizes[1] < 4_000 * 1_500
    await ledger.close()


async def test_case_18_a_ledger_that_is_down_loses_and_hoards_nothing(path: Path) -> None:
    """litellm#38193, #21514: with its database down, rows were dropped, or queued without bound."""
    ledger = await open_ledger(path, pending_limit=50, stall_limit_s=0.2)
    key, caller = await make_key(ledger), Caller()
    running = [caller.call(key) for _ in range(20)]
    await asyncio.gather(*(ledger.open(call) for call in running))
    lock = WriteLock(path)
    with lock:
        settling = [ledger.settle(settlement(call)) for call in running]
        flood = await asyncio.gather(
            *(ledger.open(caller.call(key)) for _ in range(500)), return_exceptions=True
        )
        assert all(isinstance(one, LedgerUnavailableError) for one in flood)
        assert len(ledger._writer._pending) <= 2 * 50
    lock.close()
    assert all(await asyncio.gather(*settling))
    await ledger.recover()
    found = states(path)
    assert {found[call.id] for call in running} == {"exact"}
    assert "open" not in found.values()
    assert_sums_equal_events(path)
    await ledger.close()


async def test_case_19_counting_never_holds_the_loop() -> None:
    """litellm#26193: the tokenizer held the process for a minute; it was killed as dead."""
    check_is_counted_in_bounds("a" * 100_000, 1, 100_000)
    estimator = ThreadEstimator()
    text = json.dumps({"messages": [{"role": "user", "content": "x" * 2_000_000}]}).encode()
    counting = asyncio.ensure_future(
        estimator.estimate(
            endpoint="chat.completions",
            request=text,
            answer=AnswerText(),
            model="gpt-4o",
            provider="openai",
        )
    )
    turns = 0
    while not counting.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await counting).input_tokens > 0
    assert turns > 10
    estimator.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions/c", "/v1/responses/r", "/v1/batches/b"])
def test_case_20_reading_again_bills_nothing(
    passthrough: ProxyProcess, upstream: ScriptedThread, path: str
) -> None:
    """litellm PR #39980, #17814: each poll was billed again."""
    key = f"sk-case-20-with-a-long-secret{path.replace('/', '-')}"
    upstream.answers(steps(completion()))
    for _ in range(3):
        assert ask(passthrough, request(path, method="GET", key=key)).whole
    usage = used(passthrough, key)
    assert tokens(usage) == {}
    assert amount(usage) == 0


def test_case_20_what_comes_later_is_billed_once_and_not_zero(
    passthrough: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm PR #39980, #17814: each poll was billed again, or the first one pinned $0."""
    key = "sk-case-20-of-a-batch-with-a-long-secret"
    batch = {"id": "batch_20", "object": "batch", "model": "gpt-4o", "status": "validating"}
    usage = {"input_tokens": 1_000_000, "output_tokens": 0, "total_tokens": 1_000_000}
    upstream.answers(steps(whole(200, json.dumps(batch).encode(), JSON)))
    ask(passthrough, request("/v1/batches", key=key, body=b"{}"))
    for status in ("in_progress", "finalizing", "completed", "completed", "completed"):
        ended = {"usage": usage if status == "completed" else None, "status": status}
        upstream.answers(steps(whole(200, json.dumps(batch | ended).encode(), JSON)))
        assert ask(passthrough, request("/v1/batches/batch_20", method="GET", key=key)).whole
        expected = {"input": 1_000_000} if status == "completed" else {}
        assert tokens(used(passthrough, key)) == expected
    assert amount(used(passthrough, key)) == Decimal("2.50")


# Those of the list that have no number but their issue's.


def test_also_27704_a_deploy_in_the_middle_of_a_stream_loses_nothing(
    upstream: ScriptedThread, tmp_path: Path
) -> None:
    upstream.answers(steps(HEAD, delta(), 0.5, last(), DONE, END))
    with ProxyProcess(tmp_path, upstream.base_url) as proxy:
        proxy.start()
        key = proxy.key()
        from tests.e2e.raw_http import Client  # noqa: PLC0415

        with Client(proxy.port) as client:
            client.send(chat(key, stream=True))
            client.until(b"some words")
            assert not proxy.terminate()

        assert proxy.states() == {"exact": 1}


@pytest.mark.parametrize(
    "shown",
    [
        failures.a_responses_socket_logs_its_tokens,
        failures.explicit_zeros_are_usage,
        failures.the_total_is_not_ignored,
    ],
    ids=["38674", "37994", "14816"],
)
def test_also_shown_by(shown: Any) -> None:
    shown()


@pytest.mark.parametrize("ending", [END, Ending.CLOSE], ids=["ended", "closed"])
def test_also_25_a_stream_without_done_has_its_usage(
    proxy: ProxyProcess, upstream: ScriptedThread, ending: Any
) -> None:
    key = customer(proxy)
    upstream.answers(steps(HEAD, delta(), last(), ending))
    ask(proxy, chat(key, stream=True))
    usage = used(proxy, key)
    assert amount(usage) >= COST
    assert tokens(usage)["input"] == 600_000
    if ending is END:
        assert figures(usage) == FIGURES


def test_also_37734_half_a_stream_has_a_price(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    key = customer(proxy)
    upstream.answers(steps(HEAD, *[delta()] * 5, 0.05, Ending.ABORT))
    assert not ask(proxy, chat(key, stream=True)).whole
    usage = used(proxy, key)
    assert counted(usage) == {"partial": 1}
    assert amount(usage) > 0


def test_also_declining_usage_evades_nothing(proxy: ProxyProcess, upstream: ScriptedThread) -> None:
    """agentgateway: ``include_usage: false`` skipped the question, and so the metering."""
    key = customer(proxy)
    upstream.answers(steps(HEAD, delta(), last(), DONE, END))
    answer = ask(proxy, chat(key, stream=True, stream_options={"include_usage": False}))
    assert b'"usage"' not in answer.body
    asked = json.loads(upstream.received[-1].body)
    assert asked["stream_options"]["include_usage"]
    assert figures(used(proxy, key)) == FIGURES


def test_also_27519_nothing_is_reset_by_a_restart(upstream: ScriptedThread, tmp_path: Path) -> None:
    upstream.answers(steps(completion()))
    with ProxyProcess(tmp_path, upstream.base_url) as proxy:
        proxy.start()
        key = proxy.key()
        ask(proxy, chat(key))
        before = used(proxy, key)
        for end in (proxy.terminate, proxy.kill):
            end()
            proxy.start()
            assert used(proxy, key)["lines"] == before["lines"]
