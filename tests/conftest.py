"""What all tests share: no setting from outside, and the recordings."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from proxy.settings import PREFIX, Settings

# A slow machine is no counterexample: an example may take its time.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def corpus_path() -> Path:
    """The recorded traffic: ``WEIGHBRIDGE_CORPUS``. In CI its absence is a failure, not a skip."""
    named = os.environ.get("WEIGHBRIDGE_CORPUS")
    if named:
        return Path(named)
    message = "WEIGHBRIDGE_CORPUS is not set: it names the file of recorded traffic"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
