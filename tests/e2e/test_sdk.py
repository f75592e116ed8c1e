"""The official SDK crosses the proxy, and its usage equals the upstream's own account."""

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from proxy.demo.behaviour import HEADER
from tests.proxy_process import ProxyProcess, UpstreamProcess, until

MESSAGES: Any = [{"role": "user", "content": "What does a weighbridge do?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
NUMBERS = count()
TEXT = "Every lorry that crosses is"


class Crossing:
    """The upstream, the proxy before it, and a customer: what it asked for is looked at alone."""

    def __init__(self, upstream: UpstreamProcess, proxy: ProxyProcess, customer: str) -> None:
        self.upstream = upstream
        self.proxy = proxy
        self.customer = customer
        self.key = proxy.key(customer)
        self._before = len(upstream.truth()["answers"])

    @property
    def answers(self) -> list[dict[str, Any]]:
        """What the upstream answered to this customer."""
        answers: list[dict[str, Any]] = self.upstream.truth()["answers"][self._before :]
        return answers

    def requests(self, count: int) -> list[dict[str, Any]]:
        """Wait for this customer's requests to be settled."""
        return self.proxy.settled(count, subscription=self.customer)

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(base_url=self.proxy.base_url, api_key=self.key, **options)

    def check(self, **completeness: int) -> dict[str, Any]:
        """Assert that current usage is the upstream's truth, to the token; return it."""
        billed = [answer for answer in self.answers if answer["outcome"] != "error"]
        names = ("prompt_tokens", "cached_tokens", "completion_tokens")
        totals = {name: sum(answer[name] for answer in billed) for name in names}
        usage = self.proxy.usage(self.key)
        used: Counter[str] = Counter()
        for line in usage["lines"]:
            if line["metric"] == "tokens":
                used[line["type"]] += line["quantity"]
        expected = {
            "input": totals["prompt_tokens"] - totals["cached_tokens"],
            "cached_input": totals["cached_tokens"],
            "output": totals["completion_tokens"],
        }
        assert used == Counter(expected)
        assert {name: n for name, n in usage["completeness"].items() if n} == completeness
        self.proxy.check_sums()
        return usage


@pytest.fixture(scope="module")
def processes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[UpstreamProcess, ProxyProcess]]:
    folder = tmp_path_factory.mktemp("crossing")
    with UpstreamProcess(folder / "upstream") as upstream:
        upstream.start()
        with ProxyProcess(folder / "proxy", upstream.base_url) as proxy:
            yield upstream, proxy.start()


@pytest.fixture
def crossing(processes: tuple[UpstreamProcess, ProxyProcess]) -> Crossing:
    return Crossing(*processes, customer=f"customer-{next(NUMBERS)}")


@pytest.fixture
def client(crossing: Crossing) -> Iterator[OpenAI]:
    with crossing.client() as client:
        yield client


def script(text: str) -> dict[str, str]:
    return {HEADER: text}


def test_a_plain_answer_and_its_usage_cross(crossing: Crossing, client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, extra_headers=script("prompt=5000,cached=4096")
    )
    assert answer.choices[0].message.content == TEXT
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 5000
    usage = crossing.check(exact=1)
    assert {line["type"]: line["amount"] for line in usage["lines"] if line["metric"] == "tokens"}
    assert usage["subscription"] == crossing.customer


@pytest.mark.parametrize("asks", [True, False, None])
def test_a_stream_crosses_with_usage_only_where_it_was_asked_for(
    crossing: Crossing, client: OpenAI, asks: bool | None
) -> None:
    options: Any = {} if asks is None else {"stream_options": {"include_usage": asks}}
    stream = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, **options
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == TEXT
    assert [c.usage for c in chunks if not c.choices] == ([chunks[-1].usage] if asks else [])
    assert all("usage" not in c.model_fields_set for c in chunks if c.choices) == (not asks)
    crossing.check(exact=1)


@pytest.mark.parametrize(
    ("how", "fingerprints"),
    [("moves", [None] * 6 + ["fp_demo"]), ("timings", ["b10499-6d05498"] * 7)],
)
def test_the_last_chunk_that_the_client_gets_is_the_upstreams_last(
    crossing: Crossing, client: OpenAI, how: str, fingerprints: list[str | None]
) -> None:
    """vLLM's fingerprint and llama.cpp's timings are on the chunk without choices, if it comes."""
    stream = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, extra_headers=script(how)
    )
    chunks = list(stream)
    assert [chunk.system_fingerprint for chunk in chunks] == fingerprints
    timed = [chunk.model_extra or {} for chunk in chunks]
    assert ["timings" in extra for extra in timed] == [False] * 6 + [how == "timings"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    crossing.check(exact=1)


@pytest.mark.parametrize("declines", [False, True])
def test_running_usage_that_nobody_asked_for_is_shown_to_its_end(
    crossing: Crossing, client: OpenAI, declines: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": False}} if declines else {}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o",
            messages=MESSAGES,
            stream=True,
            extra_headers=script("usage-everywhere"),
            **options,
        )
    )
    assert all(chunk.usage is not None for chunk in chunks)
    assert [bool(chunk.choices) for chunk in chunks] == [True] * 7 + [False]
    crossing.check(exact=1)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_and_answered(crossing: Crossing, client: OpenAI, stream: bool) -> None:
    name, arguments = "", ""
    if stream:
        for chunk in client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, tools=TOOLS, stream=True
        ):
            for part in chunk.choices[0].delta.tool_calls or ():
                assert part.function is not None
                name += part.function.name or ""
                arguments += part.function.arguments or ""
    else:
        answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=TOOLS)
        calls: Any = answer.choices[0].message.tool_calls
        name, arguments = calls[0].function.name, calls[0].function.arguments
    assert (name, arguments) == ("weather", '{"city":"Bern"}')
    reply: Any = {"role": "tool", "tool_call_id": "call_demo", "content": "sunny"}
    second = client.chat.completions.create(
        model="gpt-4o", messages=[*MESSAGES, reply], tools=TOOLS
    )
    assert second.choices[0].message.content == TEXT
    crossing.check(exact=2)


async def test_the_asynchronous_client(crossing: Crossing) -> None:
    async with AsyncOpenAI(base_url=crossing.proxy.base_url, api_key=crossing.key) as client:
        answer = await client.chat.completions.create(model="o1", messages=MESSAGES, n=3)
        assert [choice.message.content for choice in answer.choices] == [TEXT] * 3
        stream = await client.chat.completions.create(
            model="o1",
            messages=MESSAGES,
            stream=True,
            extra_headers=script("reasoning=2400"),
        )
        assert len([chunk async for chunk in stream]) == 7
        async with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as events:
            final = await events.get_final_completion()
        assert final.choices[0].message.content == TEXT
    crossing.check(exact=3)


def test_raw_and_streaming_responses_carry_our_id(crossing: Crossing, client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw.parse().choices[0].message.content == TEXT
    assert raw.headers["x-request-id"].startswith("req_")
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=MESSAGES
    ) as streamed:
        ids = [
            raw.headers["x-weighbridge-request-id"],
            streamed.headers["x-weighbridge-request-id"],
        ]
        assert b"usage" in streamed.read()
    assert all(name.startswith("wb_") for name in ids)
    for name in ids:
        until(partial(said, crossing.proxy, name))
    crossing.check(exact=2)


def said(proxy: ProxyProcess, name: str) -> bool:
    return name in proxy.log


def test_models_are_listed_and_cost_nothing(crossing: Crossing, client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["gpt-4o", "gpt-4o-mini", "o1"]
    assert crossing.check(exact=1)["total"]["precise_amount"] in {"0", "0.00"}


def test_errors_are_the_sdks_own(crossing: Crossing) -> None:
    ask: Any = {"model": "gpt-4o", "messages": MESSAGES}
    with crossing.client(max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.with_options(api_key="wb-wrong").chat.completions.create(**ask)
        assert refused.value.code == "invalid_api_key"
        with pytest.raises(openai.NotFoundError) as closed:
            client.fine_tuning.jobs.list()
        assert closed.value.code == "path_not_open"
        assert "managed" in closed.value.message
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**ask, extra_headers=script("status=400"))
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(**ask, extra_headers=script("status=429"))
        assert limited.value.code == "rate_limit_exceeded"
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ask, stream=True, extra_headers=script("status=500"))
    crossing.check(failed=3)


def test_each_retry_is_a_request_of_its_own(crossing: Crossing) -> None:
    with crossing.client(max_retries=2) as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, extra_headers=script("status=429")
        )
    assert [(r["attempt"], r["state"]) for r in crossing.requests(3)] == [
        (0, "failed"),
        (1, "failed"),
        (2, "failed"),
    ]
    crossing.check(failed=3)


def test_what_the_upstream_answered_to_an_impatient_client_is_billed_each_time(
    crossing: Crossing,
) -> None:
    with (
        crossing.client(max_retries=1, timeout=0.2) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, extra_headers=script("latency=0.5")
        )
    requests = crossing.requests(2)
    assert [(r["attempt"], r["state"]) for r in requests] == [(0, "exact"), (1, "exact")]
    assert [answer["outcome"] for answer in crossing.answers] == ["finished"] * 2
    crossing.check(exact=2)


def test_an_upstream_that_refuses_the_option_is_asked_without_it(
    crossing: Crossing, client: OpenAI
) -> None:
    for _ in range(3):
        chunks = client.chat.completions.create(
            model="refusing", messages=MESSAGES, stream=True, extra_headers=script("no-options")
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
    assert [answer["status"] for answer in crossing.answers] == [400, 200, 200, 200]
    assert [row["state"] for row in crossing.requests(3)] == ["estimated"] * 3


@pytest.mark.parametrize("how", ["no-usage", "no-usage,no-compress"])
def test_without_reported_usage_it_is_estimated(
    crossing: Crossing, client: OpenAI, how: str
) -> None:
    for chunk in client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, extra_headers=script(how)
    ):
        assert chunk.choices
    usage = crossing.proxy.usage(crossing.key)
    assert usage["completeness"]["estimated"] == 1
    assert {line["type"] for line in usage["lines"] if line["metric"] == "tokens"} == {
        "input",
        "output",
    }


Ask = Callable[[OpenAI, str, str], None]


def plainly(client: OpenAI, model: str, how: str) -> None:
    client.chat.completions.create(model=model, messages=MESSAGES, extra_headers=script(how))


def streamed(client: OpenAI, model: str, how: str) -> None:
    list(
        client.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, extra_headers=script(how)
        )
    )


@pytest.mark.parametrize("ask", [plainly, streamed])
@pytest.mark.parametrize(
    ("model", "how", "dollars"),
    [
        # 5M uncached and 1M cached input, 2M output of o1: 75.00 + 7.50 + 120.00.
        ("o1", "prompt=6000000,cached=1000000,completion=2000000", "202.50"),
        # The same 5M as OpenAI reports them, 1M cached ones among them.
        ("o1", "prompt=5000000,cached=1000000,completion=2000000", "187.50"),
        ("8k", "prompt=5000,completion=0", "0.15"),
        ("gpt-4", "prompt=5000,completion=0,model=gpt-4-0613", "0.15"),
    ],
)
def test_the_guides_dollars_come_out(
    crossing: Crossing, client: OpenAI, ask: Ask, model: str, how: str, dollars: str
) -> None:
    ask(client, model, how)
    total = crossing.check(exact=1)["total"]
    assert total["amount"] == dollars
    assert Decimal(total["precise_amount"]) == Decimal(dollars)
