"""The README is held to the program: settings, commands, targets, links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.settings import Settings, default_text, env_name

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(
    set(
        re.findall(
            r"weighbridge ((?:(?!--)[a-z][a-z-]* ?)+)",
            "\n".join(
                [
                    *re.findall(r"`(weighbridge [^`]*)`", README),
                    *re.findall(r"bin/(weighbridge .*)", README),
                ]
            ),
        )
    )
)


def settings_table() -> str:
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for field, info in Settings.model_fields.items():
        default = default_text(info)
        shown = f"`{default}`" if default else "unset"
        lines.append(f"| `{env_name(field)}` | {shown} | {info.description} |")
    return "\n".join(lines)


def test_settings_table_is_that_of_the_program() -> None:
    start = README.index("-->\n", README.index("<!-- settings")) + len("-->\n")
    written = README[start : README.index("<!-- end of settings -->")].strip()
    assert written == settings_table(), f"paste this into README.md:\n{settings_table()}"


def test_serve_help_lists_every_setting_with_its_default() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for field, info in Settings.model_fields.items():
        assert env_name(field) in shown
        assert default_text(info) in shown
        assert (info.description or "?") in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    words = command.split()
    if words[0] in {"usage", "demo"}:
        words = words[:1]
    subprocess.run(
        [sys.executable, "-m", "proxy", *words, "--help"], cwd=ROOT, capture_output=True, check=True
    )


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)(?:`|\n)", README))
    assert named
    assert named <= targets


def test_links_and_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for name in re.findall(r"`((?:proxy|tests)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name
