"""Where members are in a JSON text, against what a parser reads of it."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.wire import json_scan

names = st.text(max_size=6) | st.sampled_from(["usage", "a", 'q"', "\\", "{", "}", "[,", ":"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(names, values, max_size=6)


@st.composite
def texts(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """An object, and one way of writing it."""
    value = draw(objects)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 2])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n", "\t: ")])),
    )
    around = draw(st.sampled_from(["", " ", "\n\n", "\r\n\t"]))
    return value, (around + text + around).encode("utf-8", "surrogatepass")


@given(written=texts())
def test_members_are_the_parsers(written: tuple[dict[str, Any], bytes]) -> None:
    value, text = written
    found = list(json_scan.members(text))
    names_and_values = [
        (json.loads(b'"%b"' % name), json.loads(text[value_at:end]))
        for name, _, value_at, end in found
    ]
    assert names_and_values == list(value.items())
    for name, name_at, value_at, end in found:
        assert text[name_at:].startswith(b'"%b"' % name)
        assert text[value_at:end] == text[value_at:end].strip()


@given(written=texts(), which=st.integers(0, 5))
def test_a_member_is_taken_out_and_nothing_else(
    written: tuple[dict[str, Any], bytes], which: int
) -> None:
    value, text = written
    found = list(json_scan.members(text))
    if which >= len(found):
        assert json_scan.without_member(text, b"no such name, ever") == text
        return
    raw = found[which][0]
    rest = json_scan.without_member(text, raw)
    del value[json.loads(b'"%b"' % raw)]
    assert list(json.loads(rest).items()) == list(value.items())
    cut = len(text) - len(rest)
    assert any(text[:at] + text[at + cut :] == rest for at in range(len(rest) + 1))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"u":1}', b"{}"),
        (b'{ "u" : 1 }', b"{ }"),
        (b'{"u":1,"a":2}', b'{"a":2}'),
        (b'{"u": 1, "a": 2}', b'{"a": 2}'),
        (b'{"a":2,"u":{"u":3}}', b'{"a":2}'),
        (b'{"a": 2, "u": [1, 2], "b": 3}', b'{"a": 2, "b": 3}'),
        (b'{"a":{"u":1}}', b'{"a":{"u":1}}'),
        (b'[{"u":1}]', b'[{"u":1}]'),
        (b'["u",1]', b'["u",1]'),
        (b"", b""),
    ],
)
def test_taking_out(text: bytes, rest: bytes) -> None:
    assert json_scan.without_member(text, b"u") == rest


@given(text=st.text(alphabet='{}[],:"\\ua\n ', max_size=60))
@example(text='{"a":1}{"b":2}')
@example(text='{"a" "b"::1,,"c":}')
@example(text='}{"a":1')
def test_what_is_no_json_never_raises(text: str) -> None:
    data = text.encode()
    list(json_scan.members(data))
    json_scan.without_member(data, b"a")


@pytest.mark.parametrize(
    "text", [b'"' + b'\\"' * 300_000, b'{"a":"' + b"x" * 3_000_000, b'"' * 300_001]
)
def test_long_texts_take_time_in_proportion(text: bytes) -> None:
    # A string is one step, closed or not: were each of its characters a new beginning, this would
    # take hours, so the bound need not be sharp.
    begun = time.process_time()
    list(json_scan.members(b"{" + text))
    assert time.process_time() - begun < 20
