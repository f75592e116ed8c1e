"""The models that a request names besides its own."""

import json
from typing import Any

import pytest

from proxy.core.reservations import Other
from proxy.wire.bounds import read_bounds
from proxy.wire.endpoints import MESSAGES, RESPONSES
from proxy.wire.other_models import MOST_OTHERS
from proxy.wire.request import RequestFacts, read_facts

SCHEMA = {"type": "object", "properties": {"model": {"type": "string"}}, "default": {"model": "T"}}
DEEP = b'{"tools":[' + b'{"type":"x","a":' * 600 + b'{"model":"m"}' + b"}" * 600 + b"]}"


def named(**members: Any) -> tuple[Other, ...]:
    body = json.dumps({"model": "own", **members}).encode()
    strict, lazy = read_facts(body, strict=True), read_facts(body, strict=False)
    assert strict.unread is None
    assert lazy.named == ()
    assert lazy.others() == strict.others() == strict.named
    return strict.named


def unknown(member: str) -> tuple[Other, ...]:
    return (Other("", member),)


def test_a_plain_request_names_none() -> None:
    found = read_facts(b'{"model":"own","messages":[{"model":"x"}]}', strict=False)
    assert (found.named, found.unread) == ((), None)
    assert read_facts(b'{"model":"own"}', strict=True).others() == ()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([{"model": "a"}, {"model": "b"}], (Other("a", "fallbacks"), Other("b", "fallbacks"))),
        (["a"], (Other("a", "fallbacks"),)),
        (
            [{"model": "a", "max_tokens": 9, "thinking": {"type": "disabled"}, "speed": None}],
            (Other("a", "fallbacks", 9),),
        ),
        ([{"model": "a", "max_tokens": None}], (Other("a", "fallbacks"),)),
        (None, ()),
        ([], ()),
        ("default", unknown("fallbacks")),
        ({"model": "a"}, unknown("fallbacks")),
        ([None], unknown("fallbacks")),
        ([{"model": 1}], unknown("fallbacks")),
        ([{"model": ""}], unknown("fallbacks")),
        ([{"model": "a", "max_tokens": "9"}], unknown("fallbacks")),
        ([{"model": "a", "max_tokens": True}], unknown("fallbacks")),
        ([{"model": "a", "n": 100}], unknown("fallbacks")),
        ([{"own": ["a", "b"]}], unknown("fallbacks")),
    ],
)
def test_fallbacks(value: object, found: tuple[Other, ...]) -> None:
    assert named(fallbacks=value) == found


def test_models_to_try_in_turn() -> None:
    assert named(models=["own", "a"]) == (Other("own", "models"), Other("a", "models"))
    assert named(models="a") == unknown("models")
    assert named(models=[["a"]]) == unknown("models")


@pytest.mark.parametrize(
    ("tool", "found"),
    [
        (
            {"type": "advisor_20260301", "model": "a", "max_tokens": 7, "max_uses": 3},
            (Other("a", "tools", 7, tool=True, uses=3),),
        ),
        (
            {"type": "advisor_20260301", "model": "a", "max_tokens": None, "max_uses": True},
            (Other("a", "tools", tool=True),),
        ),
        (
            {"type": "image_generation", "model": "a", "max_tokens": 1, "svg": {"model": "b"}},
            (Other("a", "tools", tool=True), Other("b", "tools", tool=True)),
        ),
        ({"type": "image_generation", "model": None, "size": "model"}, ()),
        ({"type": "image_generation", "model": 4}, (Other("", "tools", tool=True),)),
        (
            {
                "type": "openrouter:fusion",
                "parameters": {"analysis_models": ["a", "b"], "model": "c"},
            },
            tuple(Other(name, "tools", tool=True) for name in "abc"),
        ),
        (
            {
                "type": "namespace",
                "tools": [
                    {"type": "function", "name": "f", "parameters": SCHEMA},
                    {"type": "image_generation", "model": "a"},
                ],
            },
            (Other("a", "tools", tool=True),),
        ),
        ({"type": "x", "tools": {"model": "a"}}, (Other("a", "tools", tool=True),)),
        ({"type": "x", "model": {"models": ["a"]}}, (Other("a", "tools", tool=True),)),
        ({"type": "function", "name": "f", "parameters": SCHEMA}, ()),
        ({"type": "function", "function": {"name": "model", "parameters": SCHEMA}}, ()),
        ({"name": "f", "input_schema": SCHEMA}, ()),
        ({"type": "custom", "model": "a"}, (Other("a", "tools", tool=True),)),
        ("model", ()),
    ],
)
def test_tools(tool: object, found: tuple[Other, ...]) -> None:
    assert named(tools=[tool, {"type": "function", "name": "model"}]) == found
    escaped = json.dumps({"tools": [tool]}).replace("model", r"mode\u006c").encode()
    assert read_facts(escaped, strict=True).named == found
    assert named(input=[{"type": "additional_tools", "tools": [tool]}, "x"]) == tuple(
        each._replace(member="input") for each in found
    )


def test_what_is_no_list_of_tools() -> None:
    assert named(tools=None) == ()
    assert named(tools={"model": "a"}) == unknown("tools")
    assert named(input='"tools" "model"') == ()
    assert named(input=[{"tools": "x", "model": "a"}, {"role": "user", "content": "x"}]) == ()
    assert named(plugins=[{"id": "web"}]) == ()
    assert named(plugins="models") == unknown("plugins")
    assert read_facts(rb'{"plugins":"mode\u006c"}', strict=True).named == unknown("plugins")


def test_what_other_providers_take() -> None:
    fusion = {"id": "fusion", "analysis_models": ["a"], "allowed_models": ["*"]}
    assert named(plugins=[fusion]) == (Other("a", "plugins", tool=True),)
    options = {"gateway": {"models": ["a"], "order": ["azure"]}}
    assert named(providerOptions=options) == (Other("a", "providerOptions", tool=True),)


def test_what_is_there_twice_is_not_known() -> None:
    body = b'{"tools":[{"type":"x","model":"a","model":"b"}]}'
    assert read_facts(body, strict=True).named == unknown("tools")
    assert read_facts(body, strict=False).others() == unknown("tools")


def test_depth_hides_nothing() -> None:
    assert read_facts(DEEP, strict=True).named == (Other("m", "tools", tool=True),)


def test_no_more_are_told_apart_than_anyone_needs() -> None:
    assert len(named(models=["a"] * MOST_OTHERS)) == MOST_OTHERS
    assert named(models=["a"] * (MOST_OTHERS + 1)) == unknown("models")
    assert named(models=["a"] * MOST_OTHERS, fallbacks=["b"]) == unknown("models")


@pytest.mark.parametrize("strict", [True, False])
def test_they_are_among_the_bounds_of_a_body_of_any_length(strict: bool) -> None:
    for filler in ("x", "x" * (1 << 20), "\u00e9"):
        body = json.dumps(
            {"model": "own", "messages": [filler], "fallbacks": [{"model": "a"}]}
        ).encode()
        facts = read_facts(body, strict=strict)
        assert read_bounds(MESSAGES, "own", facts, body).others == (Other("a", "fallbacks"),)
    assert read_bounds(RESPONSES, "own", RequestFacts(), b"{}").others == ()


def test_an_advisor_is_run_by_the_upstream() -> None:
    body = b'{"model":"own","tools":[{"type":"advisor_20260301","model":"a"}]}'
    assert read_bounds(MESSAGES, "own", read_facts(body, strict=True), body).tool_calls is None
