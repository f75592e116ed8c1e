"""Response formats as OpenAI shows them to its models: the schema, compact, under a heading."""

from typing import Final

from proxy.tokens.json_shape import ascii_compact, members, text

_NEVER_SHOWN: Final = frozenset({"additionalProperties", "required", "$schema"})
_ENFORCED: Final = _NEVER_SHOWN | {
    "default",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "uniqueItems",
}
"""A strict format is enforced while sampling, so the model is not told these."""

_NAME_MAPS: Final = frozenset({"properties", "$defs", "definitions"})
"""Their members are names, not keywords: one may be called ``default``."""


def render_format(json_schema: dict[str, object]) -> str:
    """Give the text that the model reads for ``response_format.json_schema``."""
    hidden = _ENFORCED if json_schema.get("strict") else _NEVER_SHOWN
    description = text(json_schema.get("description"))
    comment = f"// {description}\n" if description else ""
    schema = ascii_compact(_shown(members(json_schema.get("schema")), hidden))
    return f"# Response Formats\n\n## {json_schema.get('name')}\n\n{comment}{schema}"


def _shown(schema: object, hidden: frozenset[str]) -> object:
    if isinstance(schema, list):
        return [_shown(each, hidden) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        keyword: (
            {name: _shown(each, hidden) for name, each in value.items()}
            if keyword in _NAME_MAPS and isinstance(value, dict)
            else _shown(value, hidden)
        )
        for keyword, value in schema.items()
        if keyword not in hidden
    }
