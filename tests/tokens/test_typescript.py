"""Functions and formats as the models are shown them."""

from typing import Any

import pytest

from proxy.tokens.formats import render_format
from proxy.tokens.typescript import render_functions

NAMESPACE = "# Tools\n\n## functions\n\nnamespace functions {{\n\n{}\n\n}} // namespace functions"


def rendered(properties: dict[str, Any], **parameters: Any) -> str:
    schema = {"type": "object", "properties": properties, **parameters}
    return render_functions([{"name": "f", "parameters": schema}])


def test_functions_stand_in_a_namespace() -> None:
    functions: list[dict[str, object]] = [
        {"name": "now", "description": " Tell the time.\n\n  In UTC. "},
        {"name": "none", "parameters": {"type": "object", "properties": {}}},
    ]
    types = "// Tell the time.\n//\n// In UTC.\ntype now = () => any;\n\ntype none = () => any;"
    assert render_functions(functions) == NAMESPACE.format(types)


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "number"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "null"}, "null"),
        ({"enum": ["a", 1, None]}, '"a" | 1 | null'),
        ({"const": "only"}, '"only"'),
        ({"type": ["string", "null"]}, "string | null"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "string | number"),
        ({"oneOf": [{"type": "string"}]}, "string"),
        ({"allOf": [{"type": "string"}]}, "string"),
        ({"allOf": [{"type": "string"}, {}]}, "any"),
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array"}, "any[]"),
        ({"type": "object"}, "object"),
        ({"properties": {"b": {"type": "string"}}}, "{ b?: string }"),
        (
            {
                "type": "object",
                "properties": {"b": {"type": "string"}},
                "additionalProperties": True,
            },
            "{ b?: string, [k: string]: any }",
        ),
        ({"$ref": "#/$defs/Missing"}, "any"),
        ({"$ref": "#/$defs/Name"}, "string"),
        ({"type": "thing"}, "any"),
        ({}, "any"),
        ("no schema", "any"),
    ],
)
def test_a_type_without_comments_stands_on_one_line(schema: object, written: str) -> None:
    found = rendered({"a": schema}, required=["a"], **{"$defs": {"Name": {"type": "string"}}})
    assert found == NAMESPACE.format(f"type f = (_: {{ a: {written} }}) => any;")


@pytest.mark.parametrize(
    ("schema", "lines"),
    [
        ({"type": "string", "description": "One.\n Two."}, "// One.\n// Two.\na: string,"),
        ({"type": "string", "title": "A", "description": "One."}, "// A\n//\n// One.\na: string,"),
        ({"type": "string", "title": "A"}, "// A\na: string,"),
        ({"type": "string", "default": "x"}, 'a: string, // default: "x"'),
        (
            {"type": ["string", "null"], "description": "D"},
            "// D\na: \n | string // D\n | null // D\n,",
        ),
        (
            {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "title": "A"},
            "// A\na: \n | string // format: date\n | null\n,",
        ),
        (
            {"type": "array", "items": {"$ref": "#/$defs/Thing"}, "title": "A"},
            "// A\na: Array<\n// Thing\n{\n// B\nb: string,\n}\n>,",
        ),
        (
            {"anyOf": [{"$ref": "#/$defs/Plain"}, {"type": "null"}], "title": "A"},
            "// A\na: { c?: number } | null,",
        ),
    ],
)
def test_comments_break_a_type_into_lines(schema: object, lines: str) -> None:
    thing = {
        "type": "object",
        "title": "Thing",
        "properties": {"b": {"type": "string", "title": "B"}},
        "required": ["b"],
    }
    plain = {"type": "object", "properties": {"c": {"type": "number"}}}
    definitions = {"$defs": {"Thing": thing, "Plain": plain}}
    found = rendered({"a": schema}, required=["a"], **definitions)
    assert found == NAMESPACE.format(f"type f = (_: {{\n{lines}\n}}) => any;")


def test_a_reference_to_a_described_object_starts_a_line() -> None:
    author = {
        "title": "Author",
        "description": "Who wrote it.",
        "properties": {"name": {"type": "string", "title": "Name"}},
    }
    found = rendered(
        {"by": {"$ref": "#/$defs/Author"}, "n": {"title": "N"}}, **{"$defs": {"Author": author}}
    )
    assert "by?:\n// Author\n//\n// Who wrote it.\n{\n// Name\nname?: string,\n},\n" in found


def test_the_parameters_own_title_and_description_come_first() -> None:
    found = rendered({"a": {"type": "string"}}, title="Args", description="All.")
    assert "(_: // Args\n//\n// All.\n{ a?: string }) => any;" in found


def test_endless_schemas_end() -> None:
    node: dict[str, Any] = {
        "type": "object",
        "description": "x" * 10_000,
        "properties": {f"child{n}": {"$ref": "#/$defs/Node"} for n in range(20)},
    }
    found = rendered({"root": {"$ref": "#/$defs/Node"}}, **{"$defs": {"Node": node}})
    assert len(found) < 5_000_000
    many = {"type": ["string"] * 10_000, "description": "y" * 1_000}
    assert len(rendered({"a": many})) < 2_000_000


def test_a_strict_format_hides_what_sampling_enforces() -> None:
    schema = {
        "type": "object",
        "properties": {"default": {"type": "integer", "minimum": 1, "default": 2}},
        "required": ["default"],
        "additionalProperties": False,
    }
    strict: dict[str, object] = {"name": "N", "description": "D", "strict": True, "schema": schema}
    head = "# Response Formats\n\n## N\n\n"
    shown = '{"type":"object","properties":{"default":{"type":"integer"}}}'
    assert render_format(strict) == f"{head}// D\n{shown}"
    loose: dict[str, object] = {"name": "N", "schema": schema}
    shown = '{"type":"object","properties":{"default":{"type":"integer","minimum":1,"default":2}}}'
    assert render_format(loose) == f"{head}{shown}"


def test_a_format_is_written_in_ascii_and_survives_nonsense() -> None:
    form: dict[str, object] = {
        "name": "N",
        "schema": {"description": "…", "anyOf": [1, {"required": []}]},
    }
    assert render_format(form).endswith('{"description":"\\u2026","anyOf":[1,{}]}')
    assert render_format({}).endswith("{}")
