"""The server's side of HTTP/1.1, over real sockets."""

import asyncio

import pytest

from proxy.errors import ClientError
from proxy.http.exchange import ClientGoneError, Exchange
from tests.http.conftest import Serve

TEXT = [(b"content-type", b"text/plain")]


async def echo(exchange: Exchange) -> None:
    body = await exchange.body(1000)
    exchange.respond(200, TEXT, exchange.head.path.encode() + b" " + body)


async def test_requests_follow_each_other_on_one_connection(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    for number in range(3):
        await wire.send(b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi" % number)
        assert (await wire.answer())[2] == b"/%d hi" % number


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    async def slow_first(exchange: Exchange) -> None:
        if exchange.head.path == "/0":
            await asyncio.sleep(0.05)
        await echo(exchange)

    wire = await (await serve(slow_first)).connect()
    await wire.send(
        b"".join(
            b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n%d" % (n, n % 10)
            for n in range(40)
        )
    )
    for number in range(40):
        assert (await wire.answer())[2] == b"/%d %d" % (number, number % 10)


async def test_a_request_may_come_byte_by_byte_and_in_chunks(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    for (
        byte
    ) in b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        await wire.send(bytes([byte]))
    assert (await wire.answer())[2] == b"/a abc"


async def test_continue_is_sent_only_once_the_body_is_wanted(serve: Serve) -> None:
    async def picky(exchange: Exchange) -> None:
        if exchange.head.path == "/no":
            message = "not you"
            raise ClientError(message)
        await echo(exchange)

    serving = await serve(picky)
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    wire = await serving.connect()
    await wire.send(head % (b"/yes", 2))
    assert (await wire.answer())[0] == 100
    await wire.send(b"hi")
    assert (await wire.answer())[2] == b"/yes hi"
    for path, length, status in ((b"/no", 2, 400), (b"/yes", 1001, 413)):
        wire = await serving.connect()
        await wire.send(head % (path, length))
        assert (await wire.answer())[0] == status


async def test_an_old_client_is_not_told_to_continue(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    await wire.send(b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    await asyncio.sleep(0.05)
    await wire.send(b"hi")
    status, _, body = await wire.answer()
    assert (status, body) == (200, b"/a hi")


async def test_a_body_over_the_limit_is_refused_while_it_comes(serve: Serve) -> None:
    wire = await (await serve(echo)).connect()
    await wire.send(b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    await wire.send(b"400\r\n%b\r\n" % (b"x" * 1024))
    status, headers, body = await wire.answer()
    assert status == 413
    assert headers[b"connection"] == b"close"
    assert b"1,000 bytes" in body
    # The client may go on sending without its answer being taken away by a reset.
    await wire.send(b"400\r\n%b\r\n0\r\n\r\n" % (b"x" * 1024))
    assert await wire.ended()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(serve: Serve, request_bytes: bytes) -> None:
    wire = await (await serve(echo)).connect()
    await wire.send(request_bytes)
    status, headers, body = await wire.answer()
    assert status == 400
    assert headers[b"content-type"] == b"application/json"
    assert b'"invalid_request_error"' in body
    assert await wire.ended()


async def test_a_flood_of_headers_is_refused(serve: Serve) -> None:
    wire = await (await serve(echo, head_bytes=2000)).connect()
    await wire.send(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 400)
    assert (await wire.answer())[0] == 431
    assert await wire.ended()


@pytest.mark.parametrize(
    "rest", [b"0\r\na: " + b"b" * 4000, b"0\r\n" + b"a: b\r\n" * 700, b"2;" * 2000]
)
async def test_so_is_what_goes_on_without_a_body(serve: Serve, rest: bytes) -> None:
    wire = await (await serve(echo, head_bytes=2000)).connect()
    await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
    for at in range(0, len(rest), 100):
        await asyncio.sleep(0)
        await wire.send(rest[at : at + 100])
    assert (await asyncio.wait_for(wire.answer(), 5))[0] == 431
    assert await wire.ended()


async def test_trailers_are_nobodys(serve: Serve) -> None:
    wire = await (await serve(echo, head_bytes=2000)).connect()
    head = b"POST /%d HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    for number in range(3):
        for piece in (
            head % number,
            b"2;x=y\r\nhi\r\n" * 300,
            b"0\r\na: ",
            b"b" * 1500,
            b"\r\n\r\n",
        ):
            await wire.send(piece)
            await asyncio.sleep(0.01)
        assert (await wire.answer())[2] == b"/%d " % number + b"hi" * 300


async def test_an_old_client_gets_an_answer_that_ends_with_the_connection(serve: Serve) -> None:
    async def stream(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 200 OK\r\n", status=200, framed=False)
        exchange.write(b"a")
        exchange.write(b"b")
        exchange.end()

    serving = await serve(stream)
    old, new = await serving.connect(), await serving.connect()
    await old.send(b"GET / HTTP/1.0\r\n\r\n")
    status, headers, body = await old.answer()
    assert (status, body, b"transfer-encoding" in headers) == (200, b"ab", False)
    await new.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await new.answer())[2] == b"ab"


async def test_of_an_answer_that_is_cut_all_that_went_out_arrives(serve: Serve) -> None:
    large = b"x" * (16 << 20)  # more than the kernel takes for a client that does not read

    async def broken(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 200 OK\r\n", status=200, framed=False)
        exchange.write(large)
        exchange.cut()

    wire = await (await serve(broken)).connect()
    await wire.send(b"GET / HTTP/1.1\r\n\r\n")
    await wire.reader.readuntil(b"1000000\r\n")
    await asyncio.sleep(0.1)
    assert await wire.reader.read() == large + b"\r\n"


async def test_an_old_client_sees_a_cut_answer_from_a_whole_one(serve: Serve) -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.start(b"HTTP/1.1 200 OK\r\n", status=200, framed=False)
        exchange.write(b"half of it")
        await asyncio.sleep(0.05)
        exchange.cut()

    wire = await (await serve(broken)).connect()
    await wire.send(b"GET / HTTP/1.0\r\n\r\n")
    await wire.reader.readuntil(b"half of it")
    with pytest.raises(ConnectionResetError):
        await wire.reader.read()


async def test_slow_and_silent_clients_meet_timeouts(serve: Serve) -> None:
    serving = await serve(echo, client_timeout_s=0.1, keepalive_timeout_s=0.1)
    silent, half_head, half_body = [await serving.connect() for _ in range(3)]
    await half_head.send(b"GET / HT")
    await half_body.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhal")
    assert (await half_body.answer())[0] == 408
    assert await silent.ended()
    assert await half_head.ended()
    idle = await serving.connect()
    await idle.send(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await idle.answer())[0] == 200
    assert await idle.ended()


async def test_a_full_server_says_so_at_once(serve: Serve) -> None:
    serving = await serve(echo, max_connections=1)
    first = await serving.connect()
    await first.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await first.answer()
    second = await serving.connect()
    status, headers, _ = await second.answer()
    assert (status, headers[b"retry-after"]) == (503, b"1")


async def test_a_client_that_leaves_before_its_request_is_whole(serve: Serve) -> None:
    seen: asyncio.Future[type] = asyncio.get_running_loop().create_future()

    async def watch(exchange: Exchange) -> None:
        try:
            await exchange.body(1000)
        except ClientGoneError as error:
            seen.set_result(type(error))
            raise

    serving = await serve(watch)
    wire = await serving.connect()
    await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhal")
    await asyncio.sleep(0.05)
    wire.writer.close()
    assert await asyncio.wait_for(seen, 5) is ClientGoneError


class FullSink:
    """Takes a streamed body, and has all of it wait from the first piece on."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.whole, self.left = asyncio.Event(), asyncio.Event()

    def body_data(self, _: bytes) -> None:
        self._exchange.pause_body()

    def body_end(self) -> None:
        self.whole.set()

    def body_broken(self, _: Exception) -> None:
        raise AssertionError

    def client_paused(self) -> None:
        raise AssertionError

    def client_resumed(self) -> None:
        raise AssertionError

    def client_ended(self) -> bool:
        return False

    def client_gone(self) -> None:
        self.left.set()


async def test_a_client_that_leaves_is_seen_though_its_upload_waits(serve: Serve) -> None:
    sinks: list[FullSink] = []

    async def upload(exchange: Exchange) -> None:
        sink = FullSink(exchange)
        exchange.listener = sink
        exchange.stream_body(sink)
        sinks.append(sink)
        await sink.left.wait()

    wire = await (await serve(upload)).connect()
    await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n")
    while not sinks:
        await asyncio.sleep(0.01)
    await wire.send(b"all of it")
    await asyncio.wait_for(sinks[0].whole.wait(), 5)
    wire.writer.close()
    await asyncio.wait_for(sinks[0].left.wait(), 5)


async def test_an_unexpected_error_is_answered_and_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(exchange: Exchange) -> None:
        message = "kaputt"
        raise RuntimeError(message)

    wire = await (await serve(broken)).connect()
    await wire.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    status, _, body = await wire.answer()
    assert status == 500
    assert b"kaputt" not in body
    assert "kaputt" in caplog.text
