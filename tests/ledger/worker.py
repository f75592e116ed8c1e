"""A worker process for the tests: opens and settles until it is ended, or once at a fault point.

Arguments: the database, how it is to end (``sleep`` with requests open, ``count:N`` requests,
or a fault point's name).
"""

import asyncio
import os
import signal
import sys
import time

from proxy.core.ids import RequestIds
from proxy.core.subscriptions import key_digest
from proxy.core.usage import Measurement, Metric, Quantity, RequestState, Usage
from proxy.ledger.port import OpenCall, Settlement
from proxy.ledger.sqlite import SqliteLedger

ARMED = False


def end_at(name: str, point: str) -> None:
    if ARMED and name == point:
        print("hit", flush=True)  # noqa: T201 - the test reads it
        os.kill(os.getpid(), signal.SIGKILL)


async def work(path: str, how: str) -> None:
    global ARMED  # noqa: PLW0603 - the process is the test's
    ledger = await SqliteLedger.open_database(path, fault=lambda name: end_at(name, how))
    key = await ledger.key(key_digest(b"acmes1"))
    ids = RequestIds(ledger.worker_id)

    def call(digest: bytes | None = None) -> OpenCall:
        now_us = time.time_ns() // 1000
        return OpenCall(
            id=ids.make(now_us // 1000),
            opened_at_us=now_us,
            key=None if digest else key,
            key_digest=digest,
            key_prefix="wb-acme",
            endpoint="chat/completions",
            model="gpt-4o",
            stream=True,
            body_bytes=401,
            attempt=0,
        )

    def end(opened: OpenCall, state: RequestState = RequestState.EXACT) -> Settlement:
        quantity = Quantity(metric=Metric.TOKENS, type="input", quantity=3)
        return Settlement(
            request_id=opened.id,
            opened_at_us=opened.opened_at_us,
            settled_at_us=opened.opened_at_us,
            key=opened.key,
            key_digest=opened.key_digest,
            key_prefix="wb-acme",
            model_requested="gpt-4o",
            model="gpt-4o",
            service_tier="",
            context_class="",
            upstream_status=200,
            measurement=Measurement(state=state, usage=Usage(quantities=(quantity,))),
        )

    async def cross() -> None:
        for _ in range(25):
            opened = call(key_digest(b"sk-shared"))
            await ledger.open(opened)
            await ledger.settle(end(opened))

    if how.startswith("count:"):
        await asyncio.gather(*(cross() for _ in range(int(how[6:]) // 25)))
        await ledger.close()
        return
    settled, running, deferred, unknown = call(), call(), call(), call(key_digest(b"sk-new"))
    for opened in (settled, running, deferred, unknown):
        await ledger.open(opened)
    await ledger.settle(end(deferred, RequestState.DEFERRED))
    ARMED = True
    await ledger.settle(end(settled))
    print(ledger.worker_id, settled.id, running.id, deferred.id, unknown.id, flush=True)  # noqa: T201
    await asyncio.sleep(60)


asyncio.run(work(sys.argv[1], sys.argv[2]))
