"""Which headers go which way, in both modes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.headers import (
    HOP_BY_HOP,
    AnswerHead,
    Headers,
    RequestHead,
    accept_encoding,
    bearer_secret,
    downward,
    is_preflight,
    upward,
)

OURS: Headers = [(b"Authorization", b"Bearer upstream")]
CREDENTIALS = [
    b"Authorization",
    b"api-key",
    b"X-API-Key",
    b"Cookie",
    b"OpenAI-Organization",
    b"openai-project",
]
ACCOUNT = [b"Set-Cookie", b"OpenAI-Organization", b"openai-project"]
KEPT_UP: Headers = [
    (b"Content-Type", b"application/json"),
    (b"X-Stainless-Lang", b"python"),
    (b"user-agent", b"OpenAI/Python"),
    (b"OpenAI-Beta", b"x"),
    (b"Idempotency-Key", b"1"),
]
KEPT_DOWN: Headers = [
    (b"Content-Type", b"application/json"),
    (b"x-request-id", b"req_1"),
    (b"openai-processing-ms", b"5"),
    (b"Retry-After-Ms", b"5"),
    (b"Vary", b"a"),
    (b"vary", b"b"),
]


def request(headers: Headers) -> RequestHead:
    return RequestHead(
        method="POST",
        path="/v1/x",
        query="",
        headers=headers,
        fields={name.lower(): value for name, value in headers},
        http_minor=1,
    )


def answer(headers: Headers, status: int = 200) -> AnswerHead:
    fields = {name.lower(): value for name, value in headers}
    return AnswerHead(status=status, reason=b"OK", headers=headers, fields=fields)


def test_passthrough_leaves_what_is_the_clients_own() -> None:
    secrets = [(name, b"s") for name in CREDENTIALS]
    assert upward(request(secrets + KEPT_UP), credentials=None, edited=False) == secrets + KEPT_UP


@pytest.mark.parametrize("edited", [True, False])
def test_managed_never_sends_up_the_clients_own(edited: bool) -> None:
    secrets = [(name, b"s") for name in CREDENTIALS]
    found = upward(request(secrets + KEPT_UP), credentials=OURS, edited=edited)
    asked = [(b"Accept-Encoding", b"identity")] if edited else []
    assert found == KEPT_UP + asked + OURS


@pytest.mark.parametrize("credentials", [None, OURS])
def test_what_is_ours_to_say_upward(credentials: Headers | None) -> None:
    framing = [
        (b"Host", b"proxy"),
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"Accept-Encoding", b"br, gzip"),
    ]
    hops = [(name.title(), b"x") for name in HOP_BY_HOP]
    found = upward(request(framing + hops + KEPT_UP), credentials=credentials, edited=False)
    assert found == [*KEPT_UP, (b"Accept-Encoding", b"gzip"), *(credentials or [])]


def test_an_edited_body_is_sent_up_as_it_is() -> None:
    head = request([(b"Content-Encoding", b"gzip"), (b"Accept-Encoding", b"gzip")])
    assert upward(head, credentials=None, edited=True) == [(b"Accept-Encoding", b"identity")]
    assert (b"Content-Encoding", b"gzip") in upward(head, credentials=None, edited=False)


@pytest.mark.parametrize(("edited", "rewritten"), [(True, True), (False, True), (False, False)])
def test_a_digest_goes_up_with_the_body_that_it_is_of(edited: bool, rewritten: bool) -> None:
    names = (b"Content-MD5", b"Digest", b"Content-Digest", b"Repr-Digest")
    digests = [(name, b"sha-256=:x:") for name in names]
    found = upward(request(digests), credentials=None, edited=edited, rewritten=rewritten)
    assert [pair for pair in found if pair in digests] == ([] if rewritten else digests)


CONNECTIONS = [
    ([b"keep-alive"], set()),
    ([b"Close"], set()),
    ([b"X-A"], {b"x-a"}),
    ([b"close, x-a"], {b"x-a"}),
    ([b" X-A ,x-b,,keep-alive"], {b"x-a", b"x-b"}),
    ([b"x-a", b"close"], {b"x-a"}),
    ([b"x-a", b"X-B"], {b"x-a", b"x-b"}),
    ([b"content-length, x-a"], {b"x-a"}),
]


@pytest.mark.parametrize(("values", "gone"), CONNECTIONS)
def test_what_connection_names_is_for_one_hop(values: list[bytes], gone: set[bytes]) -> None:
    named = [(b"X-A", b"1"), (b"x-b", b"2"), (b"x-c", b"3")]
    kept = [pair for pair in named if pair[0].lower() not in gone]
    headers = [(b"Connection", value) for value in values] + named
    assert upward(request(headers), credentials=None, edited=False) == kept
    length = [(b"Content-Length", b"5")]
    assert downward(answer(headers + length), managed=False, edited=False) == kept + length


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("edited", [True, False])
def test_downward(managed: bool, edited: bool) -> None:
    account = [(name, b"a") for name in ACCOUNT]
    of_the_body = [
        (b"Content-Length", b"5"),
        (b"content-encoding", b"gzip"),
        (b"Content-MD5", b"x"),
        (b"Digest", b"x"),
        (b"Content-Digest", b"x"),
        (b"Repr-Digest", b"x"),
    ]
    hops = [(name.title(), b"x") for name in HOP_BY_HOP]
    expected = KEPT_DOWN + ([] if managed else account) + ([] if edited else of_the_body)
    head = answer(KEPT_DOWN + account + of_the_body + hops)
    assert downward(head, managed=managed, edited=edited) == expected


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, b"identity"),
        (b"", b"identity"),
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br, gzip;q=0.5, *;q=0.1", b"gzip;q=0.5"),
        (b"br;q=1.0, GZIP ; q=0.8 ,identity;q=0.5", b"GZIP ; q=0.8 ,identity;q=0.5"),
        (b"br", b"identity"),
        (b"*", b"identity"),
        (b"br, ,", b"identity"),
        (b"gzip,,deflate", b"gzip,deflate"),
        (b"gzip;q=0, br", b"gzip;q=0"),
        (b"identity;q=0, br", b"identity"),
        (b"identity; q=0.00, gzip", b"gzip"),
        (b"identity;q=0.001, gzip", b"identity;q=0.001, gzip"),
        (b"identity;q=1.0", b"identity;q=1.0"),
        (b"x-gzip", b"x-gzip"),
        (b"gzip-not", b"identity"),
    ],
)
def test_accepted_encodings_are_cut_to_what_we_can_undo(asked: bytes | None, kept: bytes) -> None:
    assert accept_encoding(asked, edited=False) == kept
    assert accept_encoding(asked, edited=True) == b"identity"


def test_nothing_is_asked_for_a_client_that_asked_for_nothing() -> None:
    assert upward(request([]), credentials=None, edited=False) == []


@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"Connection", b"X-A", b"x-a", b"Cookie", b"Accept-Encoding"]),
            st.sampled_from([b"x-a", b"close", b"", b",", b"gzip", b"cookie, x-a"]),
        ),
        max_size=8,
    ),
    managed=st.booleans(),
)
def test_what_is_sent_was_there(headers: Headers, managed: bool) -> None:
    head = request(headers)
    sent = upward(head, credentials=OURS if managed else None, edited=False)
    own = [pair for pair in sent if pair not in OURS and pair[0] != b"Accept-Encoding"]
    assert all(pair in headers for pair in own)
    named = {
        name.strip().lower()
        for key, value in headers
        if key == b"Connection"
        for name in value.split(b",")
    }
    assert not {name.lower() for name, _ in own} & named
    assert not managed or not any(name == b"Cookie" for name, _ in own)


@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        ({}, None),
        ({b"authorization": b"Bearer sk-1"}, b"sk-1"),
        ({b"authorization": b"bearer   sk-1 "}, b"sk-1"),
        ({b"authorization": b"Bearer"}, None),
        ({b"authorization": b"Bearer  "}, None),
        ({b"authorization": b""}, None),
        ({b"authorization": b"Basic eDp5"}, None),
        ({b"authorization": b"Basic eDp5", b"api-key": b"sk-2"}, None),
        ({b"authorization": b"Bearer sk-1", b"api-key": b"sk-2"}, b"sk-1"),
        ({b"api-key": b"sk-2", b"x-api-key": b"sk-3"}, b"sk-2"),
        ({b"api-key": b"", b"x-api-key": b"sk-3"}, b"sk-3"),
        ({b"x-api-key": b""}, None),
    ],
)
def test_the_secret_that_a_client_sent(fields: dict[bytes, bytes], secret: bytes | None) -> None:
    assert bearer_secret(fields) == secret


@pytest.mark.parametrize(
    ("value", "expected"), [(b"100-Continue", True), (b"", False), (b"200-ok", False)]
)
def test_expects_continue(value: bytes, expected: bool) -> None:
    assert request([(b"Expect", value)]).expects_continue is expected
    assert request([]).expects_continue is False


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("OPTIONS", b"Access-Control-Request-Method", True),
        ("OPTIONS", b"Origin", False),
        ("GET", b"Access-Control-Request-Method", False),
    ],
)
def test_a_preflight(method: str, name: bytes, expected: bool) -> None:
    asked = request([(name, b"POST")])
    asked.method = method
    assert is_preflight(asked) is expected


def test_a_client_of_http_1_0_expects_nothing() -> None:
    old = request([(b"Expect", b"100-continue")])
    old.http_minor = 0
    assert old.expects_continue is False


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/event-stream", b"text/event-stream"),
        (b"Text/Event-Stream ; charset=utf-8", b"text/event-stream"),
        (b"", b""),
    ],
)
def test_media_type(value: bytes, expected: bytes) -> None:
    assert answer([(b"Content-Type", value)]).media_type == expected
    assert answer([]).media_type == b""


@pytest.mark.parametrize(
    ("status", "expected"),
    [(100, False), (101, False), (200, True), (204, False), (206, True), (304, False), (500, True)],
)
def test_which_answers_have_a_body(status: int, expected: bool) -> None:
    assert answer([], status).has_body is expected
