"""A proxy that is told to stop while requests are still coming in ends them, too."""

import asyncio
from pathlib import Path

import pytest

from proxy.demo.scripted import Ending, steps
from proxy.ledger.port import Settlement
from tests.e2e.raw_http import request
from tests.overload.serving import serving

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[]}'
SETTLING_S = 0.5


async def test_a_body_that_ends_while_others_are_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as proxy:
        key = await proxy.key()
        proxy.answers(steps(Ending.HANG))
        application = proxy.application
        settle = application.ledger.settle

        async def slowly(settlement: Settlement) -> object:
            await asyncio.sleep(SETTLING_S)
            return await settle(settlement)

        monkeypatch.setattr(application.ledger, "settle", slowly)
        await (await proxy.connect()).send(request(CHAT, key=key, body=BODY))
        late = await proxy.connect()
        await late.send(request(CHAT, key=key, body=BODY)[:-1])
        while proxy.states() != ["open"] or application.server.running < 2:
            await asyncio.sleep(0.01)
        stopping = asyncio.ensure_future(
            application.server.close(0.05, application.caller.stop_all)
        )
        await asyncio.sleep(0.05 + SETTLING_S / 2)
        await late.send(BODY[-1:])
        async with asyncio.timeout(10):
            await stopping
        assert application.server.running == 0
        assert proxy.states() == ["partial", "partial"]
