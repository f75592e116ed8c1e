"""Handshakes: what goes up and comes down, and which model is meant."""

import pytest

from proxy.errors import BadRequestError
from proxy.wire.headers import AnswerHead, Headers, RequestHead
from proxy.wire.websocket_handshake import (
    handshake_downward,
    handshake_upward,
    is_websocket,
    model_asked,
    subprotocol_secret,
)

UPGRADE: Headers = [
    (b"Host", b"proxy"),
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Upgrade", b"WebSocket"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
]
PROTOCOLS = b"realtime,openai-insecure-api-key.sk-1, openai-project.p,, openai-beta.realtime-v1"
OFFER = (b"Sec-WebSocket-Protocol", PROTOCOLS)


def head(
    *headers: tuple[bytes, bytes],
    upgrade: bool = True,
    length: int | None = None,
    method: str = "GET",
) -> RequestHead:
    pairs = [*UPGRADE, *headers]
    return RequestHead(
        method=method,
        path="/v1/realtime",
        query="",
        headers=pairs,
        fields={name.lower(): value for name, value in pairs},
        http_minor=1,
        content_length=length,
        upgrade=upgrade,
    )


def test_what_is_a_websocket() -> None:
    assert is_websocket(head())
    assert not is_websocket(head(upgrade=False))
    assert not is_websocket(head((b"Upgrade", b"h2c")))
    assert not is_websocket(head(length=3))
    assert not is_websocket(head(method="POST"))


def test_a_key_among_the_subprotocols() -> None:
    assert subprotocol_secret(head(OFFER)) == b"sk-1"
    assert subprotocol_secret(head()) is None
    assert subprotocol_secret(head(OFFER, upgrade=False)) is None
    assert subprotocol_secret(head((OFFER[0], b"openai-insecure-api-key."))) is None


def test_passthrough_sends_all_but_extensions() -> None:
    up = handshake_upward(
        head(OFFER, (b"Authorization", b"Bearer sk")), credentials=None, metered=True
    )
    assert up == [
        *UPGRADE[3:5],
        OFFER,
        (b"Authorization", b"Bearer sk"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
    ]


def test_what_is_not_metered_keeps_its_extensions() -> None:
    assert handshake_upward(head(), credentials=None, metered=False) == [
        *UPGRADE[3:],
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
    ]


def test_managed_mode_sends_no_secret() -> None:
    ours = (b"Authorization", b"Bearer ours")
    up = handshake_upward(head(OFFER, (b"api-key", b"wb")), credentials=[ours], metered=True)
    assert up == [
        *UPGRADE[3:5],
        ours,
        (b"Sec-WebSocket-Protocol", b"realtime, openai-beta.realtime-v1"),
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"websocket"),
    ]
    offer = (OFFER[0], b"openai-insecure-api-key.x")
    only = handshake_upward(head(offer), credentials=[], metered=True)
    assert not any(name.lower() == b"sec-websocket-protocol" for name, _ in only)


def test_the_answer_comes_down_with_its_upgrade() -> None:
    accept = (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    headers = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"upgrade"),
        accept,
        (b"Set-Cookie", b"a"),
    ]
    fields = {name.lower(): value for name, value in headers}
    answer = AnswerHead(status=101, reason=b"", headers=headers, fields=fields)
    ends = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert handshake_downward(answer, managed=True) == [accept, *ends]
    assert handshake_downward(answer, managed=False) == [accept, headers[3], *ends]


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("model=gpt-realtime", "gpt-realtime"),
        ("api-version=1&deployment=mine", "mine"),
        ("intent=transcription", ""),
        ("intent=transcription&model=a", "a"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_the_model(query: str, model: str, strict: bool) -> None:
    assert model_asked(query, strict=strict) == model


@pytest.mark.parametrize("query", ["", "model=", "model=a&model=b", "call_id=rtc_1&model=a"])
def test_a_model_that_managed_mode_refuses(query: str) -> None:
    with pytest.raises(BadRequestError):
        model_asked(query, strict=True)
    assert model_asked(query, strict=False) in {"", "a"}
