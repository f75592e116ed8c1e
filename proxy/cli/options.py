"""The options of ``serve``, made from the settings: parsing, and the text of ``--help``.

Written without typer, whose import would take longer than everything else in a start.
"""

import difflib
from collections.abc import Sequence

from proxy.errors import SettingsError
from proxy.settings import Settings, default_text, env_name, is_secret

_ABOUT = """Start the proxy. Settings come from the command line, else from the environment,
else from .env; secrets only from the latter two."""


def option_name(field: str) -> str:
    """Return a field's option: ``--upstream-base-url`` for ``PROXY_UPSTREAM_BASE_URL``."""
    return "--" + env_name(field).removeprefix("PROXY_").lower().replace("_", "-")


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """Read ``--port 80`` and ``--port=80`` into values by field.

    Secrets have no option, because command lines can be read by every user of the machine.

    Raises:
        SettingsError: An argument is no option, or lacks its value.
    """
    fields = {
        option_name(field): field
        for field, info in Settings.model_fields.items()
        if not is_secret(info)
    }
    values: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name not in fields:
            raise SettingsError(_unknown(name, fields))
        given = value if equals else next(rest, None)
        if given is None:
            raise SettingsError(f"{name} lacks its value; 'weighbridge serve --help' shows all.")
        values[fields[name]] = given
    return values


def help_text() -> str:
    """Return what ``weighbridge serve --help`` prints: every setting with its default."""
    blocks = ["Usage: weighbridge serve [--SETTING VALUE]...", _ABOUT]
    for field, info in Settings.model_fields.items():
        option = "" if is_secret(info) else f" or {option_name(field)}"
        default = default_text(info)
        shown = f" (default {default})" if default else ""
        blocks.append(f"  {env_name(field)}{option}{shown}\n      {info.description}")
    return "\n\n".join(blocks) + "\n"


def _unknown(name: str, options: dict[str, str]) -> str:
    if any(name == option_name(field) for field in Settings.model_fields):
        variable = "PROXY_" + name.removeprefix("--").upper().replace("-", "_")
        return f"{name} would show a secret to every user of this machine: set {variable}."
    near = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean {near[0]}?" if near else "'weighbridge serve --help' shows all."
    return f"{name} is no option of serve: {hint}"
