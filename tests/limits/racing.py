"""Clients that race for a budget, and retry as OpenAI's SDKs do."""

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import aiohttp

from proxy.ledger.limit_check import rederive_limits
from tests.ledger.calls import database
from tests.proxy_process import ProxyProcess

PRICES = """
currency = "USD"
package_size = 1
[models."demo"]
match = ["demo-*"]
input = 0
output = 0.01
[plans.default.limits]
spend_total = 1.00
"""
"""A cent for a token of output: a request that may write three writes one."""
REQUEST = {
    "model": "demo-completion=1+prompt=7",
    "messages": [{"role": "user", "content": "weigh"}],
    "max_completion_tokens": 3,
}
RETRIES = 2
SDK_BACKOFF_S = (0.5, 8.0)
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(slots=True)
class Race:
    """What came of a race."""

    answered: int = 0
    refusals: Counter[str] = field(default_factory=Counter)


async def race(urls: list[str], key: str, *, clients: int = 64, patience_s: float = 60) -> Race:
    """Let every client ask until its budget is gone for good; ``urls`` may change meanwhile."""
    told = Race()
    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        async with asyncio.timeout(patience_s):
            await asyncio.gather(
                *(_client(session, urls, number, told) for number in range(clients))
            )
    return told


async def _client(session: aiohttp.ClientSession, urls: list[str], number: int, told: Race) -> None:
    while not await _request(session, urls[number % len(urls)], told):
        pass


async def _request(session: aiohttp.ClientSession, url: str, told: Race) -> bool:
    """Ask as an SDK does, with its retries; True once there is no use in asking again."""
    for attempt in range(RETRIES + 1):
        headers = {"x-stainless-retry-count": str(attempt)}
        try:
            answer = await session.post(f"{url}/chat/completions", json=REQUEST, headers=headers)
            content = await answer.read()
        except _BROKEN:
            await asyncio.sleep(random.uniform(0, 0.2))
            continue
        if answer.status == 200:
            told.answered += 1
            return False
        code = json.loads(content)["error"]["code"]
        told.refusals[code] += 1
        if answer.headers.get("x-should-retry") == "false":
            return True
        await asyncio.sleep(_pause_s(answer, attempt))
    return False


def _pause_s(answer: aiohttp.ClientResponse, attempt: int) -> float:
    """Return the SDK's pause: what it is told in milliseconds, in seconds, else its back-off."""
    if told_ms := answer.headers.get("retry-after-ms"):
        return float(told_ms) / 1000
    if told_s := answer.headers.get("retry-after"):
        return float(told_s)
    least, most = SDK_BACKOFF_S
    return min(most, least * float(2**attempt)) * random.uniform(0.75, 1)


def spent(proxy: ProxyProcess, customer: str) -> tuple[Decimal, Decimal, int]:
    """Return what a subscription's state says: spent, reserved, running."""
    (row,) = proxy.rows(
        "SELECT total_spent, total_reserved, running FROM limit_states JOIN subscriptions AS s"
        " ON owner = 2 * s.id WHERE external_id = ?",
        customer,
    )
    return Decimal(row["total_spent"]), Decimal(row["total_reserved"]), row["running"]


def used(proxy: ProxyProcess, customer: str) -> Decimal:
    """Return what the events say that a subscription used."""
    (row,) = proxy.rows(
        "SELECT coalesce(sum(e.quantity), 0) AS tokens FROM events AS e"
        " JOIN series AS x ON x.id = e.series_id JOIN subscriptions AS s"
        " ON s.id = e.subscription_id WHERE metric = 'tokens' AND type = 'output'"
        " AND external_id = ?",
        customer,
    )
    return Decimal(row["tokens"]) / 100


def check_states(proxy: ProxyProcess) -> None:
    """Assert that what limits keep follows from sums and open requests."""
    with database(proxy.database) as connection:
        assert rederive_limits(connection)[0] == []
