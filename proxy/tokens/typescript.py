"""Functions as OpenAI shows them to its models: TypeScript types in a namespace.

Measured on recorded calls: a type stands on one line without a trailing comma when none of its
properties has a comment; a title comes as a comment before the description, with an empty one
between; each line of a description is stripped; defaults follow in a comment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proxy.tokens.json_shape import elements, members, spaced, text

DEPTH_MAX: Final = 12
TYPES_MAX: Final = 10_000
COMMENTS_MAX: Final = 1_000_000
"""References can make a small schema endless: beyond these it is ``any``, without comments."""


def render_functions(functions: list[dict[str, object]]) -> str:
    """Give the text that the model reads for ``functions`` (each ``{name, description, …}``)."""
    types = "\n\n".join(_function(function) for function in functions)
    return (
        f"# Tools\n\n## functions\n\nnamespace functions {{\n\n{types}\n\n}} // namespace functions"
    )


def _function(function: dict[str, object]) -> str:
    comment = "".join(f"{line}\n" for line in _comment(text(function.get("description"))))
    parameters = members(function.get("parameters"))
    scope = _Scope(definitions=_definitions(parameters))
    argument = "()"
    if parameters.get("properties"):
        argument = f"(_: {scope.titled(parameters, scope.object_type(parameters))})"
    return f"{comment}type {text(function.get('name'))} = {argument} => any;"


def _definitions(parameters: dict[str, object]) -> dict[str, object]:
    return {**members(parameters.get("$defs")), **members(parameters.get("definitions"))}


def _comment(description: str) -> Iterator[str]:
    if description:
        for line in description.strip().split("\n"):
            yield f"// {line.strip()}".rstrip()


@dataclass(slots=True, kw_only=True)
class _Scope:
    """One function's parameters: its definitions, and how deep the rendering is."""

    definitions: dict[str, object]
    depth: int = 0
    types_left: int = TYPES_MAX
    comments_left: int = COMMENTS_MAX

    def type_of(self, schema: object) -> str:
        if not isinstance(schema, dict) or not schema or self.depth > DEPTH_MAX:
            return "any"
        if self.types_left <= 0:
            return "any"
        self.types_left -= 1
        self.depth += 1
        try:
            return self._type(schema)
        finally:
            self.depth -= 1

    def _type(self, schema: dict[str, object]) -> str:
        if isinstance(reference := schema.get("$ref"), str):
            return self.type_of(self.definitions.get(reference.rsplit("/", 1)[-1]))
        for choice in ("anyOf", "oneOf"):
            if options := elements(schema.get(choice)):
                return self._union(options)
        match elements(schema.get("allOf")):
            case [only]:
                return self.type_of(only)
        if values := self._values(schema):
            return values
        return self._named_type(schema)

    @staticmethod
    def _values(schema: dict[str, object]) -> str:
        if isinstance(values := schema.get("enum"), list):
            return " | ".join(spaced(value) for value in values)
        return spaced(schema["const"]) if "const" in schema else ""

    def _union(self, options: list[object]) -> str:
        """Render a union: on one line, but for options that have comments of their own."""
        remarks = [self._remark(members(option)) for option in options]
        types = [self.type_of(option) for option in options]
        if not any(remarks):
            return " | ".join(types)
        lines = (
            f"\n | {type_}{f' // {remark}' if remark else ''}"
            for type_, remark in zip(types, remarks, strict=True)
        )
        return "".join(lines) + "\n"

    def _named_type(self, schema: dict[str, object]) -> str:
        match schema.get("type"):
            case list() as names:
                return self._union([{**schema, "type": name} for name in names])
            case "integer" | "number":
                return "number"
            case "string" | "boolean" | "null" as name:
                return str(name)
            case "array":
                return self._array(schema)
            case name if name == "object" or schema.get("properties"):
                return self.object_type(schema)
        return "any"

    def _array(self, schema: dict[str, object]) -> str:
        items = members(schema.get("items"))
        inner = self.titled(self._resolved(items), self.type_of(items))
        return f"Array<\n{inner}\n>" if "\n" in inner else f"{inner}[]"

    def _resolved(self, schema: dict[str, object]) -> dict[str, object]:
        reference = text(schema.get("$ref"))
        return members(self.definitions.get(reference.rsplit("/", 1)[-1])) if reference else schema

    def object_type(self, schema: dict[str, object]) -> str:
        properties = members(schema.get("properties"))
        if not properties:
            return "object"
        required = elements(schema.get("required"))
        if not any(_commented(each) for each in properties.values()):
            return self._line(schema, properties, required)
        lines = [
            line
            for name, each in properties.items()
            for line in self._property(name, each, required)
        ]
        return "\n".join(("{", *lines, "}"))

    def _line(
        self, schema: dict[str, object], properties: dict[str, object], required: list[object]
    ) -> str:
        inner = [self._member(name, each, required) for name, each in properties.items()]
        if schema.get("additionalProperties") is True:
            inner.append("[k: string]: any")
        return f"{{ {', '.join(inner)} }}"

    def _member(self, name: str, schema: object, required: list[object]) -> str:
        key = f"{name}{'' if name in required else '?'}:"
        described = members(schema)
        type_ = self.type_of(schema)
        if "$ref" in described:
            referred = self.titled(self._resolved(described), type_)
            return f"{key}\n{referred}" if referred != type_ else f"{key} {type_}"
        return f"{key} {type_}"

    def titled(self, schema: dict[str, object], rendered: str) -> str:
        """Put an object's own title and description before it."""
        if not schema.get("properties"):
            return rendered
        return "\n".join((*self._heading(schema), rendered))

    def _heading(self, schema: dict[str, object]) -> Iterator[str]:
        """Give the comment lines above a property or an object: its title, its description."""
        description = text(schema.get("description"))
        self.comments_left -= len(description)
        if self.comments_left < 0:
            return
        if title := schema.get("title"):
            yield f"// {title}"
            if description:
                yield "//"
        yield from _comment(description)

    def _remark(self, option: dict[str, object]) -> str:
        """Give the comment behind one option of a union; objects have theirs before them."""
        if option.get("properties") or "$ref" in option:
            return ""
        description = text(option.get("description"))
        self.comments_left -= len(description)
        if self.comments_left < 0:
            return ""
        shape = f"format: {option['format']}" if "format" in option else ""
        return " ".join(filter(None, (description, shape)))

    def _property(self, name: str, schema: object, required: list[object]) -> Iterator[str]:
        described = members(schema)
        yield from self._heading(described)
        default = f" // default: {spaced(described['default'])}" if "default" in described else ""
        yield f"{self._member(name, schema, required)},{default}"


def _commented(schema: object) -> bool:
    described = members(schema)
    return bool(described.get("description") or described.get("title") or "default" in described)
