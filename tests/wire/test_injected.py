"""The ``"usage": null`` that the option adds, taken out of one frame."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.injected import may_lack_moved, with_moved, without_null_usage
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


FINISH = b'data: {"id":1,"choices":[{"finish_reason":"stop"}],"x":2}\n\n'


def moved(frame: bytes, usage_chunk: bytes) -> bytes:
    [found] = with_moved([frame], usage_chunk, fingerprint=True)
    return found


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (b'{"choices":[],"system_fingerprint":"v"}', b'"stop"}],"system_fingerprint":"v","x":2}'),
        (b'{"choices":[], "timings": {"a": [1]} }', b'"stop"}], "timings": {"a": [1]},"x":2}'),
        (b'{"choices":[],"x":0,"y":0\t,\t"timings":[1]}', b'"x":2\t,\t"timings":[1]}'),
        (b'{"timings":1,"choices":[]}', b'data: {"timings":1,"id":1,'),
        (b'{ "usage":{"timings":0}, "timings" : 1}', b'data: {"timings" : 1,"id":1,'),
        (b'{"id":1,"timings":2,"system_fingerprint":3}', b'"id":1,"timings":2,"system_fing'),
    ],
)
def test_what_moved_is_put_back_at_its_place(chunk: bytes, expected: bytes) -> None:
    found = moved(FINISH, chunk)
    assert expected in found
    inserted = {name: value for name, value in json.loads(chunk).items() if name in MOVING}
    assert json.loads(found[6:]) == json.loads(FINISH[6:]) | inserted


MOVING = ("system_fingerprint", "timings")


@pytest.mark.parametrize(
    ("frame", "chunk"),
    [
        (FINISH, b'{"choices":[],"usage":{}}'),
        (FINISH, b'{"choices":[],"metrics":{},"service_tier":"x"}'),
        (FINISH, b'{"choices":[],"system_fingerprint":null,"timings": null}'),
        (FINISH, b'{"choices":[],"usage":{"timings":1,"system_fingerprint":2}}'),
        (FINISH, b'{"choices":[],\n"timings":1}'),
        (FINISH, b"nonsense"),
        (FINISH.replace(b"x", b"timings"), b'{"choices":[],"timings":1}'),
        (FINISH.replace(b'"x', b'"system_fingerprint'), b'{"system_fingerprint":"v"}'),
        (b'data: {"choices":\ndata: [{"finish_reason":"stop"}]}\n\n', b'{"timings":1}'),
        (b'data: ["finish_reason","stop"]\n\n', b'{"timings":1}'),
    ],
)
def test_what_did_not_move_is_not_written(frame: bytes, chunk: bytes) -> None:
    assert moved(frame, chunk) == frame


def test_of_several_finish_chunks_all_have_the_fingerprint_and_one_the_timings() -> None:
    chunk = b'{"id":1,"system_fingerprint":"v","timings":{}}'
    first, last = with_moved([FINISH, FINISH], chunk, fingerprint=True)
    assert first == FINISH.replace(b'"id":1', b'"id":1,"system_fingerprint":"v"')
    assert last == first.replace(b'"v"', b'"v","timings":{}')
    assert with_moved([FINISH], chunk, fingerprint=False) == [
        FINISH.replace(b'"id":1', b'"id":1,"timings":{}')
    ]
    assert with_moved([], chunk, fingerprint=True) == []


@given(common=objects, value=st.integers() | objects, at=st.integers(0, 9), spaces=st.booleans())
def test_where_both_chunks_agree_the_place_is_exact(
    common: dict[str, object], value: object, at: int, spaces: bool
) -> None:
    """A server that writes the same members in the same order, but for what moves."""
    separators = (", ", ": ") if spaces else (",", ":")
    pairs = [(name, common[name]) for name in common if name not in {*MOVING, "choices", "usage"}]
    pairs[:0] = [("choices", 0)]

    def chunk(choices: object, *, usage: bool, timed: bool) -> bytes:
        found: list[tuple[str, object]] = [("choices", choices), *pairs[1:]]
        found[1 + at : 1 + at] = [("timings", value)] * timed
        found += [("usage", {"prompt_tokens": 1})] * usage
        return json.dumps(dict(found), separators=separators).encode()

    choices = [{"finish_reason": "stop"}]
    frame = b"data: %b\n\n" % chunk(choices, usage=False, timed=False)
    usage_chunk = chunk([], usage=True, timed=True)
    assert moved(frame, usage_chunk) == b"data: %b\n\n" % chunk(choices, usage=False, timed=True)


@given(frame=st.binary(max_size=80), chunk=st.binary(max_size=80))
def test_moving_never_fails(frame: bytes, chunk: bytes) -> None:
    with_moved([b'data: {"a":1}' + frame], b'{"b":1' + chunk + b',"timings":1}', fingerprint=True)
    with_moved([frame], chunk, fingerprint=True)


@pytest.mark.parametrize(
    ("frame", "waits"),
    [
        (FINISH, True),
        (b'data: {"choices":[{"finish_reason" : "stop"}]}\n\n', True),
        (b'data: {"system_fingerprint":"b1-x","choices":[{"finish_reason":"stop"}]}\n\n', True),
        (b'data: {"system_fingerprint":"fp_1","choices":[{"finish_reason":"stop"}]}\n\n', False),
        (b'data: {"system_fingerprint": null,"choices":[{"finish_reason":"stop"}]}\n\n', False),
        (b'data: {"choices":[{"finish_reason":null}]}\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"x"}}]}\n\n', False),
        (b"data: [DONE]\n\n", False),
    ],
)
def test_only_a_chunk_that_may_lack_something_is_told(frame: bytes, waits: bool) -> None:
    assert may_lack_moved(frame) is waits
