"""The ``"usage": null`` that the option adds, taken out of one frame."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.injected import without_null_usage
from tests.wire.test_json_scan import objects


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b'data: {"a":1,"usage":null}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"a":1,"usage":null}\r\n\r\n', b'data: {"a":1}\r\n\r\n'),
        (b'data: {"a":1, "usage": null}\n\n', b'data: {"a":1}\n\n'),
        (b'data: {"a":1, "usage" :\tnull }\n\n', b'data: {"a":1 }\n\n'),
        (b'data: {"a":1,"usage":null,"b":"x"}\n\n', b'data: {"a":1,"b":"x"}\n\n'),
        (b'data: {"a":1,"usage":null,"b":"{"}\n\n', b'data: {"a":1,"b":"{"}\n\n'),
        (b'data: {"a":1,"usage":null,"b":-1.5e+3}\n\n', b'data: {"a":1,"b":-1.5e+3}\n\n'),
        (b'data: {"a":1,"usage":null,"b":{"c":[]}}\n\n', b'data: {"a":1,"b":{"c":[]}}\n\n'),
        (b'data: {"usage":null}\n\n', b"data: {}\n\n"),
        (b'data: {"usage":null, "a":1}\n\n', b'data: {"a":1}\n\n'),
        (b'data:{"usage":null,"a":1}', b'data:{"a":1}'),
        (b'\xef\xbb\xbfdata: {"usage":null,"a":1}\n\n', b'\xef\xbb\xbfdata: {"a":1}\n\n'),
        (b'data: {"x":{"usage":null},"usage":null}\n\n', b'data: {"x":{"usage":null}}\n\n'),
        (
            b'data: {"x":{"b":1,"usage":null},"y":1,"usage":null,"z":[]}\n\n',
            b'data: {"x":{"b":1,"usage":null},"y":1,"z":[]}\n\n',
        ),
        (
            b': {"usage":null}\nevent: {\ndata: {"usage":null,"a":1}\nid: }\n\n',
            b': {"usage":null}\nevent: {\ndata: {"a":1}\nid: }\n\n',
        ),
    ],
)
def test_taken_out(frame: bytes, expected: bytes) -> None:
    assert without_null_usage(frame) == expected


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"a":1}\n\n',
        b'data: {"x":{"a":1,"usage":null}}\n\n',
        b'data: {"x":[{"a":1,"usage":null}]}\n\n',
        b'data: {"x":[{"a":1,"usage":null}],"b":1}\n\n',
        b'data: {"x":[{"a":1,"usage":null},{"b":1}]}\n\n',
        b'data: {"a":1,"usage":nullable}\n\n',
        b'data: {"a":1,"usage":{"usage":null}}\n\n',
        b'data: {"a":",\\"usage\\":null}"}\n\n',
        b'data: {"a":"\\",\\"usage\\":null"}\n\n',
        b'data: ["usage",null]\n\n',
        b'data: [{"usage":null}]\n\n',
        b'data: "usage":null\n\n',
        b': {"a":1,"usage":null, "b"\n\n',
        b': {"usage":null}\n\n',
        b'data: {"a":1,\ndata: "usage":null}\n\n',
        b'data: {"usage":null,\ndata: "a":1}\n\n',
        b"\n\n",
        b"",
    ],
)
def test_left_alone(frame: bytes) -> None:
    assert without_null_usage(frame) is frame


@given(
    before=objects,
    after=objects,
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
    end=st.sampled_from(["\n\n", "\r\n\r\n", "\r\r", ""]),
)
def test_it_leaves_what_would_have_been_written_without(
    before: dict[str, object],
    after: dict[str, object],
    separators: tuple[str, str],
    end: str,
) -> None:
    before.pop("usage", None)
    after = {name: value for name, value in after.items() if name not in {*before, "usage"}}
    frame = f"data: {json.dumps(before | {'usage': None} | after, separators=separators)}{end}"
    expected = f"data: {json.dumps(before | after, separators=separators)}{end}"
    found = without_null_usage(frame.encode()).decode()
    assert found.replace(" ", "") == expected.replace(" ", "")
    if separators[0] != " , ":
        assert found == expected
