"""What is read of a request's body, and what is written into it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequestError
from proxy.wire.request import NO_FACTS, RequestFacts, read_facts, with_usage_asked
from tests.wire.test_json_scan import objects

LIMITS = ["max_completion_tokens", "max_output_tokens", "max_tokens"]


def facts(**members: Any) -> RequestFacts:
    body = json.dumps(members).encode()
    found = read_facts(body, strict=False)
    assert read_facts(body, strict=True) == found
    return found


def test_what_is_read() -> None:
    assert facts(
        model="gpt-4o",
        messages=[{"role": "user", "content": "model stream n"}],
        stream=True,
        stream_options={"include_usage": True},
        n=2,
        max_tokens=7,
        service_tier="flex",
        store=False,
        background=True,
    ) == RequestFacts(
        model="gpt-4o",
        stream=True,
        include_usage=True,
        may_ask=True,
        n=2,
        limited_by=("max_tokens",),
        max_output_tokens=7,
        service_tier="flex",
        store=False,
        background=True,
    )


def test_what_is_absent_null_or_empty() -> None:
    assert facts() == RequestFacts(may_ask=True)
    nothing = dict.fromkeys(
        ["model", "stream", "n", "store", "service_tier", "background", *LIMITS]
    )
    assert facts(**nothing, stream_options=None) == RequestFacts(may_ask=True)


@pytest.mark.parametrize(
    ("members", "read"),
    [
        ({"model": 4}, {"model": ""}),
        ({"model": ["m"]}, {"model": ""}),
        ({"model": {"model": "m"}}, {"model": ""}),
        ({"stream": 1}, {"stream": False}),
        ({"stream": "true"}, {"stream": False}),
        ({"stream": False}, {"stream": False}),
        ({"n": True}, {"n": None}),
        ({"n": "2"}, {"n": None}),
        ({"n": 2.5}, {"n": None}),
        ({"n": 2.0}, {"n": 2}),
        ({"n": -1}, {"n": None}),
        ({"n": 0}, {"n": 0}),
        ({"n": 2**63 - 1}, {"n": 2**63 - 1}),
        ({"n": 2**63}, {"n": None}),
        ({"n": 10**400}, {"n": None}),
        ({"n": [1]}, {"n": None}),
        ({"store": "yes"}, {"store": True}),
        ({"store": 0}, {"store": True}),
        ({"service_tier": 1}, {"service_tier": None}),
        ({"background": "true"}, {"background": True}),
        ({"max_tokens": 1}, {"max_output_tokens": 1}),
        ({"max_tokens": 1, "max_output_tokens": 2}, {"max_output_tokens": 2}),
        ({"max_tokens": 4, "max_output_tokens": 2}, {"max_output_tokens": 4}),
        ({"max_tokens": 1, "max_completion_tokens": 0}, {"max_output_tokens": 1}),
        ({"max_tokens": 1, "max_completion_tokens": "9"}, {"max_output_tokens": None}),
        ({"max_tokens": 1, "max_completion_tokens": None}, {"max_output_tokens": 1}),
        ({"max_completion_tokens": -1, "max_tokens": 1}, {"max_output_tokens": None}),
        (
            {"max_tokens": 1, "max_completion_tokens": 3},
            {"limited_by": ("max_completion_tokens", "max_tokens")},
        ),
        ({"best_of": 3}, {"best_of": 3}),
        ({"stream_options": {}}, {"may_ask": True}),
        ({"stream_options": {"include_usage": False}}, {"may_ask": True}),
        ({"stream_options": {"include_usage": None}}, {"may_ask": True}),
        ({"stream_options": {"include_usage": 1}}, {"may_ask": False, "include_usage": False}),
        ({"stream_options": {"include_usage": "true"}}, {"may_ask": False}),
        ({"stream_options": {"x": {"include_usage": True}}}, {"include_usage": False}),
        ({"stream_options": []}, {"may_ask": False}),
        ({"stream_options": "include_usage"}, {"may_ask": False}),
        ({"stream_options": True}, {"may_ask": False}),
        ({"x": {"model": "inner", "stream": True}}, {"model": "", "stream": False}),
    ],
)
def test_odd_types(members: dict[str, Any], read: dict[str, Any]) -> None:
    found = facts(**members)
    assert {name: getattr(found, name) for name in read} == read


NO_OBJECTS = [
    b"",
    b" ",
    b"null",
    b"[]",
    b'["model"]',
    b'"model"',
    b"1",
    b"{",
    b'{"model":"m"',
    b'{"model":"m",}',
    b'{"model":"m"}}',
    b'{"model":"m"} x',
    b"{'model':'m'}",
    b'{"model":NaN}',
    b'{"x":Infinity}',
    b'{"x":01}',
    b'{"x":"\\x"}',
    b'{"x":"a\x01"}',
    b'{"x":"\\ud800"}',
    b'\xef\xbb\xbf{"model":"m"}',
    b'{"model":"m"}'.decode().encode("utf-16"),
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
]


@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_what_is_no_object(body: bytes) -> None:
    assert read_facts(body, strict=False) == NO_FACTS
    with pytest.raises(BadRequestError):
        read_facts(body, strict=True)


HALVES = [
    rb'{"model":"m","x":"\ud83d"}',
    rb'{"model":"m","x":"\\\ud83d!"}',
    rb'{"model":"m","x":["\uD83D\n"]}',
    rb'{"model":"m","x":"\ud83d\u0041"}',
    rb'{"model":"m","x":"\ude00\ud83d"}',
    rb'{"\ud83d":"m"}',
]


@pytest.mark.parametrize("body", HALVES)
def test_half_of_a_surrogate_pair_is_told_as_such(body: bytes) -> None:
    assert read_facts(body, strict=False) == NO_FACTS
    with pytest.raises(BadRequestError, match=r"half of a surrogate pair \(\\ud83d, say\)"):
        read_facts(body, strict=True)


@pytest.mark.parametrize("body", [rb'{"x":"\\ud83d', rb'{"x":"\ud83d\ude00"', b'{"x":"surrogate"'])
def test_what_breaks_off_is_no_half_of_a_pair(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="is not a JSON object"):
        read_facts(body, strict=True)


AMBIGUOUS = [
    b'{"input":[{"tools":[{"model":"dear"}]}],"input":"x"}',
    b'{"input":"x","tools":[],"input":[{"tools":[{"model":"dear"}]}]}',
    b'{"models":["cheap"],"models":["dear"]}',
    b'{"fallbacks":[],"f\\u0061llbacks":"default"}',
    b'{"model":"cheap","model":"dear"}',
    b'{"model":"cheap","x":1,"model":"cheap"}',
    b'{"model":"cheap","m\\u006fdel":"dear"}',
    b'{"m\\u006Fdel":"cheap","model":"dear"}',
    b'{"\\u006dodel":"cheap","\\u006d\\u006fdel":"dear"}',
    b'{"stream":false,"messages":[],"stream" : true}',
    b'{"max\\u005ftokens":1,"max_tokens":2}',
    b'{"n":1,"n":2}',
    b'{"model":"\xff"}',
    b'{"x":{"\xff":1}}',
    b'{"x":"\xed\xa0\x80"}',
    b'{"x":"\xc0\xaf"}',
]


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_what_two_parsers_could_read_differently(body: bytes) -> None:
    read_facts(body, strict=False)
    with pytest.raises(BadRequestError):
        read_facts(body, strict=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","x":{"model":1},"messages":[{"model":2,"n":3}]}',
        b'{"model":"m","tools":["model","model"]}',
        b'{"model":"m","x":"\\"model\\":\\"y\\""}',
        b'{"model":"m","x":"\\u00e9\\u006d\\u001b"}',
        b'{"model":"m","x":{"m\\u006fdel":1}}',
        b'{"model":"m","x":"\xc3\xa9\xf0\x9f\x98\x80"}',
        b'{"m\\u006fdel":"m"}',
        b'\r\n\t {"model":"m"} \n',
    ],
)
def test_what_is_only_alike(body: bytes) -> None:
    assert read_facts(body, strict=True).model == "m"


@pytest.mark.parametrize(
    "body",
    [
        b'{"n":1e999,"model":"m"}',
        b'{"max_tokens":-1e999,"model":"m"}',
        b'{"stream_options":{"include_usage":1e999},"model":"m"}',
    ],
)
def test_a_number_that_nothing_holds_is_none(body: bytes) -> None:
    found = read_facts(body, strict=True)
    assert (found.model, found.n, found.max_output_tokens) == ("m", None, None)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"\xff"}',
        b'{"service_tier":"\xff"}',
        b'{"stream_options":{"\xff":1}}',
        b'{"stream_options":{"include_usage":"\xff"}}',
    ],
)
def test_bytes_that_are_no_text_are_for_the_upstream_to_judge(body: bytes) -> None:
    found = read_facts(body, strict=False)
    assert (found.model, found.service_tier, found.include_usage) == ("", None, False)


@given(body=st.binary(max_size=60) | st.text('{}[]":,\\umodelstrn1e ', max_size=60).map(str.encode))
def test_no_body_raises_anything_else(body: bytes) -> None:
    found = read_facts(body, strict=False)
    try:
        assert read_facts(body, strict=True) == found
    except BadRequestError as error:
        assert "Send one JSON object" in str(error)  # noqa: PT017 - not every body raises


option_objects = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "include_obfuscation", "continuous_usage_stats", "x\n"]),
    st.booleans() | st.none(),
)


@given(
    before=objects,
    options=option_objects | st.just("absent"),
    after=objects,
    indent=st.sampled_from([None, 1]),
    escaped=st.booleans(),
)
def test_asking_keeps_every_other_byte(
    before: dict[str, Any], options: Any, after: dict[str, Any], indent: int | None, escaped: bool
) -> None:
    members = dict(before)
    if options != "absent":
        members["stream_options"] = options
    members |= {name: value for name, value in after.items() if name not in members}
    text = json.dumps(members, indent=indent)
    if escaped:
        text = text.replace('"stream_options":', '"stream_\\u006fptions":')
    body = text.encode()
    assert read_facts(body, strict=False).may_ask

    asked = with_usage_asked(body)

    kept = dict(options) if isinstance(options, dict) else {}
    kept.pop("continuous_usage_stats", None)
    assert json.loads(asked) == members | {"stream_options": kept | {"include_usage": True}}
    assert read_facts(asked, strict=False).include_usage
    written = json.dumps(options, indent=indent)
    if options == "absent":
        head, _, tail = text.rpartition("}")
    elif indent is None:
        head, _, tail = text.partition(f'ptions": {written}')
        head += 'ptions": '
    else:
        return  # an indented value is written at another depth: its bytes are not known here
    assert asked.startswith(head.encode())
    assert asked.endswith(tail.encode())


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b"{}", b'{"stream_options":{"include_usage":true}}'),
        (b" { } ", b' { "stream_options":{"include_usage":true}} '),
        (b'{"a":1}\n', b'{"a":1,"stream_options":{"include_usage":true}}\n'),
        (b'{"a":1 }', b'{"a":1 ,"stream_options":{"include_usage":true}}'),
        (
            b'{"stream_options" : null , "a":1}',
            b'{"stream_options" : {"include_usage":true} , "a":1}',
        ),
        (
            b'{"stream_options":{ "x": 1.50, "include_usage": false },"a":1}',
            b'{"stream_options":{"x":1.50,"include_usage":true},"a":1}',
        ),
        (
            b'{"a":{"stream_options":{}}}',
            b'{"a":{"stream_options":{}},"stream_options":{"include_usage":true}}',
        ),
        (
            b'{"stream_options":{"x":1},"stream_options":{"y":2}}',
            b'{"stream_options":{"x":1},"stream_options":{"y":2,"include_usage":true}}',
        ),
        (
            b'{"\xff":1,"\\u0061\xff":1,"stream_options":{}}',
            b'{"\xff":1,"\\u0061\xff":1,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_where_it_is_asked(body: bytes, asked: bytes) -> None:
    assert with_usage_asked(body) == asked


def test_the_body_is_not_scanned_where_it_need_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.wire.json_scan.members", None)
    body = b'{"x":"\\u00e9\\u003c stream_options","stream":true}'
    assert with_usage_asked(body) == body[:-1] + b',"stream_options":{"include_usage":true}}'
    assert read_facts(body, strict=True).stream


@pytest.mark.parametrize("before", range(4))
def test_utf_8_is_told_a_slice_at_a_time(before: int) -> None:
    padding = b"x" * ((1 << 16) - len(b'{"model":"') - before)
    good = b'{"model":"' + padding + "\N{SPARKLES}".encode() * 2 + b'"}'
    assert read_facts(good, strict=True).model.endswith("\N{SPARKLES}")
    with pytest.raises(BadRequestError):
        read_facts(good.replace(b"\xe2", b"\xff"), strict=True)
