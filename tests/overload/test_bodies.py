"""Request bodies: how much of them is held at a time, for whom, and for how long."""

import asyncio
import gzip
import json
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.demo.scripted import Ending, Received, Reply, steps, whole
from proxy.errors import OverloadedError
from proxy.http.held import HeldBytes
from proxy.metering.outcome import Ended
from proxy.metering.relay import Relay
from tests.e2e.raw_http import request
from tests.overload.serving import OK, Proxy, resident_bytes, serving

MEBIBYTE = 1 << 20
CHAT = "/v1/chat/completions"
FILES = "/v1/files"


def body(size: int) -> bytes:
    text = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": ""}]})
    return text.replace('""', '"' + "x" * (size - len(text)) + '"').encode()


def chat(key: str, data: bytes, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request(CHAT, key=key, body=data, headers=named)


def chunked(key: str) -> bytes:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    return (head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode()


async def test_what_is_held_is_bounded_and_refused_early(tmp_path: Path) -> None:
    async with serving(tmp_path, max_held_bytes=2 * MEBIBYTE) as proxy:
        first, second = await proxy.key("first"), await proxy.key("second")
        assert (await proxy.ask(chat(first, body(1000))))[0] == 200
        await proxy.at_rest()
        proxy.answers(steps(Ending.HANG))
        big = body(MEBIBYTE - 2000)
        for key in (first, second):
            wire = await proxy.connect()
            await wire.send(chat(key, big))
        while proxy.application.server.held.total < 2 * len(big):
            await asyncio.sleep(0.01)
        # Only the head is sent: it is refused by what it announces.
        wire = await proxy.connect()
        data = chat(second, body(100_000))
        await wire.send(data[: data.index(b"\r\n\r\n") + 4])
        status, headers, answer = await wire.answer()
        assert (status, headers[b"retry-after"]) == (503, b"1")
        assert json.loads(answer)["error"]["code"] == "proxy_overloaded"
        # Without a length, by what has come.
        wire = await proxy.connect()
        await wire.send(chunked(first))
        with suppress(ConnectionError):
            await wire.send(b"19000\r\n" + b"x" * 0x19000 + b"\r\n")
        assert (await wire.answer())[0] == 503
        assert await proxy.leftovers() == {}
        proxy.answers(steps(OK))
        assert (await proxy.ask(chat(first, body(100_000))))[0] == 200


@pytest.mark.parametrize("managed", [False, True])
async def test_what_a_compressed_body_says_is_held_as_well(tmp_path: Path, managed: bool) -> None:
    async with serving(tmp_path, managed=managed, max_held_bytes=2 * MEBIBYTE) as proxy:
        key = await proxy.key("first") if managed else "sk-own"
        assert (await proxy.ask(request(CHAT, key=key, body=body(1000))))[0] == 200
        await proxy.at_rest()
        packed = gzip.compress(body(3 * MEBIBYTE))
        assert len(packed) < MEBIBYTE // 2
        sent = request(CHAT, key=key, headers={"Content-Encoding": "gzip"}, body=packed)
        assert (await proxy.ask(sent))[0] == 503
        assert await proxy.leftovers() == {}


async def test_one_subscription_can_not_hold_everything(tmp_path: Path) -> None:
    async with serving(tmp_path, max_held_bytes=2 * MEBIBYTE) as proxy:
        greedy, modest = await proxy.key("greedy"), await proxy.key("modest")
        proxy.answers(steps(Ending.HANG))
        wire = await proxy.connect()
        await wire.send(chat(greedy, body(MEBIBYTE - 2000)))
        while not proxy.application.server.held.total:
            await asyncio.sleep(0.01)
        status, _, answer = await proxy.ask(chat(greedy, body(100_000)))
        assert status == 503
        assert "of this subscription" in json.loads(answer)["error"]["message"]
        proxy.answers(steps(OK))
        assert (await proxy.ask(chat(modest, body(900_000))))[0] == 200


async def test_announcing_costs_nobody_anything(tmp_path: Path) -> None:
    async with serving(tmp_path, max_held_bytes=2 * MEBIBYTE) as proxy:
        key = await proxy.key()
        for _ in range(10):
            wire = await proxy.connect()
            await wire.send(chat(key, body(MEBIBYTE - 2000))[:1000])
        await asyncio.sleep(0.05)
        assert proxy.application.server.held.total < 10_000
        assert (await proxy.ask(chat(key, body(900_000))))[0] == 200
        await asyncio.sleep(0)


async def test_a_body_of_crumbs_takes_no_more_than_itself(tmp_path: Path) -> None:
    async with serving(tmp_path, max_body_bytes=8 * MEBIBYTE) as proxy:
        key = await proxy.key()
        await proxy.ask(chat(key, body(1000)))
        await proxy.at_rest()
        before = resident_bytes()
        wire = await proxy.connect()
        await wire.send(chunked(key))
        crumbs = b"2\r\nxx\r\n" * 10_000
        for _ in range(200):
            await wire.send(crumbs)
        while proxy.application.server.held.total < 4_000_000:
            await asyncio.sleep(0.01)
        assert resident_bytes() - before < 32 * MEBIBYTE
        assert await proxy.leftovers() == {}


async def test_a_compressed_body_is_held_as_large_as_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path, max_held_bytes=2 * MEBIBYTE) as proxy:
        key = await proxy.key()
        asked = json.loads(body(4 * MEBIBYTE)) | {"stream": True}
        bomb = gzip.compress(json.dumps(asked).encode())
        assert len(bomb) < 100_000
        assert (await proxy.ask(chat(key, bomb, Content_Encoding="gzip")))[0] == 503
        bomb = gzip.compress(bytes(200 * MEBIBYTE))
        before = resident_bytes()
        assert (await proxy.ask(chat(key, bomb, Content_Encoding="gzip")))[0] in {400, 415}
        assert resident_bytes() - before < 100 * MEBIBYTE


@pytest.mark.parametrize("steadily", [False, True], ids=["in silence", "drop by drop"])
@pytest.mark.parametrize("managed", [True, False], ids=["read", "streamed"])
async def test_who_sends_too_slowly_is_told(
    tmp_path: Path, *, steadily: bool, managed: bool
) -> None:
    async with serving(tmp_path, managed=managed, client_timeout_s=0.3) as proxy:
        key = await proxy.key() if managed else "sk-own"
        path = CHAT if managed else FILES
        kind = {} if managed else {"Content-Type": "text/plain"}
        await proxy.ask(request(path, key=key, body=body(1000), headers=kind))
        await proxy.at_rest()
        wire = await proxy.connect()
        data = request(path, key=key, body=body(5000), headers=kind)
        await wire.send(data[:-3000])
        answer = asyncio.ensure_future(wire.answer())
        for at in range(40):
            if answer.done():
                break
            if steadily:
                with suppress(ConnectionError):
                    await wire.send(data[at - 3000 : at - 2999])
            await asyncio.sleep(0.1)
        status, _, said = await asyncio.wait_for(answer, 5)
        assert (status, json.loads(said)["error"]["code"]) == (408, "request_timeout")
        assert await proxy.leftovers() == {}


async def test_an_upload_without_a_length_is_bounded_too(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False, max_upload_bytes=MEBIBYTE) as proxy:
        await proxy.ask(request(FILES, key="sk-own", body=b"x"))
        await proxy.at_rest()
        wire = await proxy.connect()
        head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-own\r\n"
        await wire.send((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        with suppress(ConnectionError):
            for _ in range(40):
                await wire.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        status, _, said = await wire.answer()
        assert (status, json.loads(said)["error"]["code"]) == (413, "request_too_large")
        assert b"PROXY_MAX_UPLOAD_BYTES" in said
        assert await proxy.leftovers() == {}


@pytest.mark.parametrize(
    ("path", "setting"), [(CHAT, b"PROXY_MAX_BODY_BYTES"), (FILES, b"PROXY_MAX_UPLOAD_BYTES")]
)
async def test_who_sends_too_much_is_told_which_setting_forbids_it(
    tmp_path: Path, path: str, setting: bytes
) -> None:
    limits = {"max_body_bytes": 2000, "max_upload_bytes": 2000}
    async with serving(tmp_path, managed=False, **limits) as proxy:
        announced = request(path, key="sk-own", body=body(2001))
        head = chunked("sk-own").replace(CHAT.encode(), path.encode())
        found = head + b"7d1\r\n" + body(2001) + b"\r\n0\r\n\r\n"
        for sent in (announced, found):
            status, _, said = await proxy.ask(sent)
            assert status == 413
            assert b"larger than 2,000 bytes" in said
            assert b"raise %b." % setting in said


async def test_an_upload_waits_for_an_upstream_that_reads_slowly(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False) as proxy:
        await proxy.ask(request(FILES, key="sk-own", body=b"x"))
        await proxy.at_rest()
        go_on = asyncio.Event()

        async def stubborn(_received: Received, reply: Reply) -> None:
            await reply.send(whole(200, b"{}"))

        proxy.answers(stubborn)
        _pause_upstream(proxy, go_on)
        before = resident_bytes()
        wire = await proxy.connect()
        size = 256 * MEBIBYTE
        head = request(FILES, key="sk-own", headers={"Content-Length": str(size)})
        await wire.send(head)
        sent = 0

        async def send() -> None:
            nonlocal sent
            piece = bytes(MEBIBYTE // 4)
            while sent < size:
                await wire.send(piece)
                sent += len(piece)

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(1)
        assert sent < 64 * MEBIBYTE
        assert resident_bytes() - before < 64 * MEBIBYTE
        sending.cancel()
        go_on.set()
        assert await proxy.leftovers() == {}


async def test_a_client_that_leaves_after_its_upload_is_seen(tmp_path: Path) -> None:
    async with serving(tmp_path, managed=False, on_disconnect="cancel") as proxy:
        await proxy.ask(request(FILES, key="sk-own", body=b"x"))
        await proxy.at_rest()
        go_on = asyncio.Event()
        _pause_upstream(proxy, go_on)
        wire = await proxy.connect()
        await wire.send(chunked("sk-own").replace(CHAT.encode(), FILES.encode()))
        while not proxy.application.caller.running:
            await asyncio.sleep(0.01)
        (relay,) = proxy.application.caller.running
        await asyncio.sleep(0.1)
        assert isinstance(relay, Relay)
        assert relay.connection is not None
        upward = relay.connection._transport
        assert upward is not None
        while not upward.get_write_buffer_size():  # the kernel takes some megabytes
            await wire.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.1)
        # The last piece is what is too much, and comes with the body's end.
        upward.set_write_buffer_limits(high=upward.get_write_buffer_size() + 1000)
        await wire.send(b"2000\r\n" + bytes(0x2000) + b"\r\n0\r\n\r\n")
        await asyncio.sleep(0.1)
        assert relay.sent
        wire.writer.close()
        await asyncio.wait_for(asyncio.shield(relay.measured), 5)
        assert relay.ended is Ended.CANCELLED
        go_on.set()
        assert await proxy.leftovers() == {}


def _pause_upstream(proxy: Proxy, until: asyncio.Event) -> None:
    """Have the upstream read nothing of the next connection's bytes."""
    opened = proxy.upstream.opened

    def opening(connection: object) -> int:
        number = opened(connection)  # type: ignore[arg-type]
        transport = connection.transport  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, transport.pause_reading)
        loop.create_task(_resume(transport, until))  # noqa: RUF006
        return number

    proxy.upstream.opened = opening  # type: ignore[method-assign]


async def _resume(transport: asyncio.ReadTransport, when: asyncio.Event) -> None:
    await when.wait()
    if not transport.is_closing():
        transport.resume_reading()


def test_held_bytes_are_counted_out_as_they_were_counted_in() -> None:
    held = HeldBytes(100)
    held.take("a", 50)
    with pytest.raises(OverloadedError):
        held.take("a", 1)
    held.take("b", 50)
    with pytest.raises(OverloadedError):
        held.expect("c", 1)
    held.give("a", 20)
    held.take("c", 20)
    for holder, count in (("a", 30), ("b", 50), ("c", 20)):
        held.give(holder, count)
    assert (held.total, held._by_holder) == (0, {})
