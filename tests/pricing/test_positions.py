import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.pricing.positions import nearest, path_text, positions

TEXT = '''\
top = 1 # [not.a.table]
"a b".c = { x = [1, { y = "}#" }, ], "z.z" = '\\' } # trailing
[one]
s = """
[two]
""\\"" ""five"""""
t = \'\'\'
k = 1\'\'\'
u = [ # comment ]
  1979-05-27 07:32:00, "a]b",
  [ [], {} ],
]
[one . "t\\u0077o" . 'three']
v = -1_0.5e+3
[[list]]
[list.sub]
a = 1
[[list]]
a = 2
[[list.inner]]
b = 1
[[list.inner]]
b = 2
[list.inner.deep]
c = true
'''


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("top",), (1, 1)),
        (("a b",), (2, 1)),
        (("a b", "c"), (2, 7)),
        (("a b", "c", "x"), (2, 13)),
        (("a b", "c", "x", 1), (2, 21)),
        (("a b", "c", "x", 1, "y"), (2, 23)),
        (("a b", "c", "z.z"), (2, 38)),
        (("one",), (3, 2)),
        (("one", "s"), (4, 1)),
        (("one", "t"), (7, 1)),
        (("one", "u", 1), (10, 24)),
        (("one", "u", 2, 1), (11, 9)),
        (("one", "two"), (13, 8)),
        (("one", "two", "three"), (13, 21)),
        (("one", "two", "three", "v"), (14, 1)),
        (("list", 0, "sub", "a"), (17, 1)),
        (("list", 1), (18, 3)),
        (("list", 1, "a"), (19, 1)),
        (("list", 1, "inner", 1, "b"), (23, 1)),
        (("list", 1, "inner", 1, "deep", "c"), (25, 1)),
    ],
)
def test_positions(path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    assert positions(TEXT)[path] == place


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return {path} - {()} | {p for key, item in inner for p in paths(item, (*path, key))}


def test_every_value_has_a_position_and_nothing_else() -> None:
    assert set(positions(TEXT)) == paths(tomllib.loads(TEXT))
    assert set(positions(TEXT.replace("\n", "\r\n"))) == paths(tomllib.loads(TEXT))


keys = st.sampled_from(["a", "b-1", '"c d"', "'e'", '"f\\"g"'])
scalars = st.sampled_from(["1", '"x,]}#"', "'y'", '"""\nz"""', "2026-01-01", "[]", "{}", "true"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[ {', '.join(items)}\n]"),
        st.lists(st.tuples(keys, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{ " + ", ".join(f"{k} = {v}" for k, v in pairs) + " }"
        ),
    ),
    max_leaves=8,
)
statements = st.one_of(
    st.tuples(keys, values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.lists(keys, min_size=1, max_size=3).map(lambda parts: f"[{'.'.join(parts)}]"),
    st.lists(keys, min_size=1, max_size=2).map(lambda parts: f"[[ {' . '.join(parts)} ]]  # x"),
)


@given(st.lists(statements, max_size=8).map("\n".join))
def test_positions_of_any_document_are_those_of_its_values(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(positions(text)) == paths(document)


def test_what_is_not_written_is_where_its_holder_is() -> None:
    places = positions(TEXT)
    assert nearest(places, ("one", "u", 7, "x")) == (9, 1)
    assert nearest(places, ("absent",)) == (1, 1)


def test_paths_read_like_keys() -> None:
    assert path_text(("models", "gpt-4.1", "versions", 0, "input")) == (
        'models."gpt-4.1".versions[1].input'
    )
