"""Usage lost, doubled or priced at nothing: cases 1 to 12 in which other meters went wrong."""

from decimal import Decimal
from typing import Any

import pytest

from proxy.demo.scripted import Ending, steps
from tests.e2e.raw_http import Client, request
from tests.e2e.scripted_thread import ScriptedThread
from tests.failures.asking import (
    COST,
    DONE,
    END,
    EXACTLY_ONE,
    FIGURES,
    HEAD,
    WHOLE_USAGE,
    amount,
    ask,
    chat,
    completion,
    counted,
    customer,
    delta,
    event,
    figures,
    last,
    tokens,
    used,
)
from tests.proxy_process import ProxyProcess, get_json, until
from tests.wire.usage import failures


def until_counted(proxy: ProxyProcess, key: str, **counts: int) -> dict[str, Any]:
    until(lambda: counted(used(proxy, key)) == counts)
    return used(proxy, key)


def leave_early(
    proxy: ProxyProcess, upstream: ScriptedThread, key: str, *parts: bytes | float | Ending
) -> None:
    """Read a stream's first event, and go."""
    upstream.answers(steps(HEAD, delta(), *parts))
    with Client(proxy.port) as client:
        client.send(chat(key, stream=True))
        client.until(b"some words")


def test_case_01_a_stream_of_another_dialect_has_a_price(
    passthrough: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm#37923: streamed Vertex-Anthropic calls were priced $0, with the right tokens."""
    start = {
        "type": "message",
        "model": "claude-x",
        "usage": {"input_tokens": 1_000_000, "output_tokens": 1},
    }
    upstream.answers(
        steps(
            HEAD,
            event({"type": "message_start", "message": start}, "message_start"),
            event(
                {"type": "message_delta", "usage": {"output_tokens": 2_000_000}}, "message_delta"
            ),
            event({"type": "message_stop"}, "message_stop"),
            END,
        )
    )
    key = "sk-case-01-with-a-long-secret"
    body = b'{"model":"claude-x","max_tokens":9,"stream":true,"messages":[]}'
    assert ask(passthrough, request("/v1/messages", key=key, body=body)).whole
    usage = used(passthrough, key)
    assert tokens(usage) == {"input": 1_000_000, "output": 2_000_000}
    assert amount(usage) == Decimal(33)
    assert counted(usage) == EXACTLY_ONE


def test_case_02_there_is_one_path_to_a_cost(proxy: ProxyProcess, upstream: ScriptedThread) -> None:
    """litellm#40100: a row's spend was 0 while its breakdown held $45.38."""
    key = customer(proxy)
    upstream.answers(steps(completion()))
    ask(proxy, chat(key))
    usage = used(proxy, key)
    headers = {"Authorization": f"Bearer {key}"}
    invoice = get_json(f"{proxy.address}/usage/invoice", headers)
    assert amount(usage) == sum(Decimal(line["amount"] or 0) for line in usage["lines"]) == COST
    assert Decimal(invoice["total"]["precise_amount"]) == COST
    assert sum(Decimal(line["precise_amount"] or 0) for line in invoice["lines"]) == COST


@pytest.mark.parametrize("id_", ["same", None])
def test_case_03_the_providers_ids_name_nothing(
    proxy: ProxyProcess, upstream: ScriptedThread, id_: Any
) -> None:
    """litellm#28376, #39749: reused or null ids dropped rows."""
    key = customer(proxy)
    upstream.answers(steps(completion(id_=id_)))
    for _ in range(3):
        ask(proxy, chat(key))
    assert counted(used(proxy, key)) == {"exact": 3}
    assert amount(used(proxy, key)) == 3 * COST


def test_case_04_a_client_that_leaves_before_the_usage_is_billed(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm#14457: a disconnect before the last chunk recorded nothing."""
    key = customer(proxy)
    leave_early(proxy, upstream, key, 0.2, delta(), last(), DONE, END)
    assert figures(until_counted(proxy, key, exact=1)) == FIGURES


def test_case_05_the_full_generation_is_drained(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm#34147: the provider bills all that it generates, not what was delivered."""
    key = customer(proxy)
    leave_early(proxy, upstream, key, *[delta()] * 50, 0.3, last(), DONE, END)
    assert tokens(until_counted(proxy, key, exact=1)) == WHOLE_USAGE


def test_case_06_a_client_that_closes_after_the_last_event_is_billed(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """ai-gateway#2563: usage of successful calls was lost, as clients close before EOF."""
    key = customer(proxy)
    upstream.answers(steps(HEAD, delta(), last(), DONE, 0.5, END))
    with Client(proxy.port) as client:
        client.send(chat(key, stream=True))
        client.until(b"[DONE]\n\n")
        # What the client has, the ledger has: at once, and not when the upstream closes.
        assert figures(used(proxy, key)) == FIGURES
    assert figures(used(proxy, key)) == FIGURES


def test_case_07_a_limit_is_charged_what_a_whole_answer_cost(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """ai-gateway#2248: the limiter charged about 1 for a buffered answer."""
    key = customer(proxy)
    name = used(proxy, key)["subscription"]
    most = {"spend_total": Decimal(100)}
    proxy._with_ledger(lambda ledger: ledger.set_limits(most, subscription=name))
    upstream.answers(steps(completion()))
    assert ask(proxy, chat(key, max_tokens=10)).status == 200
    rows = proxy.rows(
        "SELECT total_spent, total_reserved FROM limit_states AS l JOIN subscriptions AS s"
        " ON s.id = l.subscription_id WHERE s.external_id = ?",
        name,
    )
    assert [Decimal(row["total_spent"]) for row in rows] == [COST]
    assert [Decimal(row["total_reserved"]) for row in rows] == [0]


@pytest.mark.parametrize("stream", [True, False])
def test_case_08_a_call_that_times_out_before_its_answer_is_billed(
    cancelling: ProxyProcess, upstream: ScriptedThread, *, stream: bool
) -> None:
    """The same: the upstream has read the request, and goes on working on it."""
    key = customer(cancelling)
    upstream.answers(steps(Ending.HANG))
    assert ask(cancelling, chat(key, stream=stream)).status == 504
    usage = until_counted(cancelling, key, partial=1)
    assert tokens(usage)["input"] > 5
    assert "output" not in tokens(usage)


@pytest.mark.parametrize("how", ["leaves", "times out"])
def test_case_08_cancelled_and_timed_out_calls_are_billed(
    cancelling: ProxyProcess, upstream: ScriptedThread, how: str
) -> None:
    """bifrost#3357: 25 % short, for cancelled and timed-out calls were not billed."""
    key = customer(cancelling)
    if how == "leaves":
        leave_early(cancelling, upstream, key, *[delta()] * 5, Ending.HANG)
    else:
        upstream.answers(steps(HEAD, *[delta()] * 5, Ending.HANG))
        assert not ask(cancelling, chat(key, stream=True)).whole
    usage = until_counted(cancelling, key, partial=1)
    assert tokens(usage)["input"] > 5
    assert tokens(usage)["output"] >= 2
    assert amount(usage) > 0


def test_case_09_no_route_escapes(proxy: ProxyProcess, upstream: ScriptedThread) -> None:
    """bifrost#2873: passthrough routes escaped budgets. Here a path is metered, or closed."""
    key = customer(proxy)
    upstream.answers(steps(completion()))
    assert ask(proxy, chat(key)).status == 200
    paths = (
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/threads",
        "/v1/unheard/of",
        "/v1/../v1/models",
    )
    for path in paths:
        before = len(upstream.received)
        answer = ask(proxy, request(path, key=key, body=b'{"model":"gpt-4o","input":"x"}'))
        rows = len(proxy.requests(used(proxy, key)["subscription"]))
        went_up = len(upstream.received) - before
        assert answer.status == 404 or went_up == 1
        assert rows == len(upstream.received), path


@pytest.mark.parametrize("policy", ["drain", "cancel"])
def test_case_10_what_a_disconnect_costs_is_a_setting(
    proxy: ProxyProcess, cancelling: ProxyProcess, upstream: ScriptedThread, policy: str
) -> None:
    """new-api#5287, #4168, #7062: overbilled by a local count, billed without output, or not."""
    serving = proxy if policy == "drain" else cancelling
    key = customer(serving)
    few = {"prompt_tokens": 12, "completion_tokens": 400, "total_tokens": 412}
    leave_early(serving, upstream, key, 0.3, *[delta()] * 100, last(few), DONE, END)
    if policy == "drain":
        assert tokens(until_counted(serving, key, exact=1)) == {"input": 12, "output": 400}
    else:
        usage = until_counted(serving, key, partial=1)
        assert 2 <= tokens(usage)["output"] < 400


def test_case_11_cached_tokens_are_charged_once(
    proxy: ProxyProcess, upstream: ScriptedThread
) -> None:
    """litellm#6215, #14849: charged at the full rate and at the cache's."""
    failures.cached_tokens_are_counted_once()
    key = customer(proxy)
    upstream.answers(steps(completion()))
    ask(proxy, chat(key))
    assert figures(used(proxy, key)) == FIGURES


def test_case_12_nothing_is_ever_negative(proxy: ProxyProcess, upstream: ScriptedThread) -> None:
    """new-api#5003: cached tokens were taken from an input that did not hold them."""
    failures.cached_tokens_are_not_taken_from_an_exclusive_input()
    key = customer(proxy)
    odd = {
        "prompt_tokens": 12,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 16_650},
    }
    upstream.answers(steps(completion(odd)))
    ask(proxy, chat(key))
    usage = used(proxy, key)
    assert all(line["quantity"] >= 0 for line in usage["lines"])
    assert amount(usage) > 0
