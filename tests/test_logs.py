"""The log: every line is what ``PROXY_LOG_FORMAT`` says, whoever writes it."""

import json
import logging
import re
import sys
from pathlib import Path

import pytest

from proxy.logs import JsonFormatter, TextFormatter, logs_json
from proxy.settings import Settings
from tests.proxy_process import ProxyProcess, until

REFUSED = "[models.gpt-4o]\ninput = -1\noutput = -2\n"


def record(*, failed: bool = False) -> logging.LogRecord:
    raised = None
    if failed:
        try:
            raise RuntimeError("two\nlines")  # noqa: TRY301 - for its traceback
        except RuntimeError:
            raised = sys.exc_info()
    made = logging.LogRecord(
        "weighbridge", logging.WARNING, "", 0, "%s: \udc80 ü\nnext", ("a",), raised
    )
    made.created = 1_796_083_200.25
    return made


def test_json_is_one_line_whatever_is_logged() -> None:
    line = JsonFormatter().format(record(failed=True))
    assert "\n" not in line
    assert line.isascii()
    read = json.loads(line)
    assert "RuntimeError: two\nlines" in read.pop("exception")
    assert read == {
        "time": "2026-12-01T00:00:00.250Z",
        "level": "warning",
        "logger": "weighbridge",
        "message": "a: \udc80 ü\nnext",
    }
    assert "exception" not in json.loads(JsonFormatter().format(record()))


def test_text_says_when_and_how_bad() -> None:
    line = TextFormatter().format(record(failed=True))
    assert line.startswith("2026-12-01T00:00:00.250Z WARNING a: ")
    assert line.endswith("RuntimeError: two\nlines")


@pytest.mark.parametrize(
    ("form", "on_terminal", "as_json"),
    [("auto", True, False), ("auto", False, True), ("json", True, True), ("text", False, False)],
)
def test_auto_is_text_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, form: str, on_terminal: bool, as_json: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: on_terminal)
    assert logs_json(Settings.load(log_format=form)) is as_json


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("form", ["json", "text"])
def test_every_line_of_a_proxy_has_the_form(tmp_path: Path, workers: int, form: str) -> None:
    prices = tmp_path / "pricing.toml"
    prices.write_text(REFUSED.replace("-", ""))
    with ProxyProcess(
        tmp_path / "proxy",
        "http://127.0.0.1:9",
        workers=workers,
        log_format=form,
        pricing_file=prices,
    ) as proxy:
        proxy.start()
        prices.write_text(REFUSED)
        until(lambda: "prices refused" in proxy.log)
        assert proxy.terminate() == 0
        log = proxy.log
    if form == "text":
        begun = re.compile(r"20\d\d-[\d-]+T[\d:.]+Z (INFO|WARNING|ERROR) ")
        assert all(begun.match(line) or "pricing.toml:" in line for line in log.splitlines())
        return
    lines = [json.loads(line) for line in log.splitlines()]
    (refused,) = (line for line in lines if "prices refused" in line["message"])
    assert (refused["level"], refused["logger"]) == ("error", "weighbridge")
    assert refused["message"].count("pricing.toml:") == 2
