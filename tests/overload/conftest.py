"""Deadlines are looked at often here: what is late shows soon."""

import pytest

from proxy.http import deadlines


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_S", 0.02)
