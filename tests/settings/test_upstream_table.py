"""``PROXY_UPSTREAMS_FILE``: what is read of it, and how it is refused."""

import asyncio
from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.http.moderation import Moderation
from proxy.metering.upstreams import Upstreams
from proxy.settings import Settings
from proxy.upstream_table import read_upstreams, rows_of, upstreams_of

ROW = 'name = "eu"\nbase_url = "https://eu.example/v1/"\nmodels = ["gpt-*"]\n'


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "upstreams.toml"
    path.write_text("".join(f"[[upstream]]\n{row}\n" for row in rows))
    return path


def test_a_row(tmp_path: Path) -> None:
    (row,) = read_upstreams(table(tmp_path, ROW + 'api_key = "sk-secret"'))
    assert (row.name, row.kind, row.base_url) == ("eu", "openai", "https://eu.example/v1")
    assert (row.models, row.asks_usage, row.provider) == (("gpt-*",), True, "")
    assert row.key is not None
    assert row.key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(row)


def test_a_key_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, ROW + 'api_key_env = "EU_KEY"')
    with pytest.raises(SettingsError, match="EU_KEY, which is unset"):
        read_upstreams(path)
    monkeypatch.setenv("EU_KEY", "sk-from-outside")
    (row,) = read_upstreams(path)
    assert row.key is not None
    assert row.key.get_secret_value() == "sk-from-outside"


@pytest.mark.parametrize("key", ["sk hunter2", "sk-hunter2\n", "sk-hünter2"])
def test_a_key_of_the_environment_that_fits_no_header_is_told_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("EU_KEY", key)
    with pytest.raises(SettingsError) as caught:
        read_upstreams(table(tmp_path, ROW + 'api_key_env = "EU_KEY"'))
    assert (
        "'eu''s key from EU_KEY, which can't be used: it must be printable" in caught.value.message
    )
    assert "nter2" not in caught.value.message


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([ROW.replace("eu.example", "")], "base_url of upstream 1: it must be an http"),
        ([ROW.replace('"eu"', '"default"')], "which the settings are"),
        ([ROW.replace('"eu"', '"e u"')], "name of upstream 1"),
        ([ROW.replace('["gpt-*"]', "[]")], "models of upstream 1"),
        ([ROW + 'kind = "azure"'], "gives no api_version"),
        ([ROW + 'kind = "bedrock"'], "kind of upstream 1"),
        ([ROW + 'key = "sk-secret"'], "key of upstream 1"),
        ([ROW + 'api_key = "sk secret"'], "api_key of upstream 1"),
        ([ROW + "asks_usage = 1"], "asks_usage of upstream 1"),
        ([ROW, ROW], "two upstreams 'eu'"),
        ([ROW, ROW.replace('"eu"', '"us"')], "sends 'gpt-*' to 'eu' and 'us'"),
        (["name ="], "is no TOML"),
    ],
)
def test_refused(tmp_path: Path, rows: list[str], problem: str) -> None:
    path = table(tmp_path, *rows)
    with pytest.raises(SettingsError) as caught:
        read_upstreams(path)
    assert problem in caught.value.message
    assert str(path) in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("text", ["[upstream]\n", "other = 1\n", "[[upstreams]]\n"])
def test_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "upstreams.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="tables and nothing else"):
        read_upstreams(path)
    with pytest.raises(SettingsError, match="can't be read"):
        read_upstreams(tmp_path / "missing.toml")


def test_it_needs_managed_mode(tmp_path: Path) -> None:
    path = table(tmp_path, ROW)
    assert rows_of(Settings.load()) == ()
    assert len(rows_of(Settings.load(upstreams_file=path, upstream_api_key="sk-a"))) == 1
    with pytest.raises(SettingsError, match="needs managed mode"):
        rows_of(Settings.load(upstreams_file=path))


async def upstreams(tmp_path: Path, *patterns: str) -> Upstreams:
    rows = [
        f'name = "u{number}"\nbase_url = "http://127.0.0.1:9"\nmodels = ["{pattern}"]\n'
        for number, pattern in enumerate(patterns)
    ]
    settings = Settings.load(upstreams_file=table(tmp_path, *rows), upstream_api_key="sk-a")
    moderation = Moderation(asyncio.get_running_loop(), lambda: 0)
    return upstreams_of(settings, connections=10, moderation=moderation)


async def test_the_closest_pattern_wins(tmp_path: Path) -> None:
    found = await upstreams(tmp_path, "gpt-*", "gpt-4o-*", "gpt-4o-mini", "*-preview")
    chosen = {
        "gpt-5": "u0", "gpt-4o-audio": "u1", "gpt-4o-mini": "u2", "o1-preview": "u3",
        "o1": "default", "": "default",
    }  # fmt: skip
    for _ in range(2):
        assert {model: found.choose(model).name for model in chosen} == chosen
    assert [upstream.name for upstream in found] == ["default", "u0", "u1", "u2", "u3"]
    found.close()


async def test_what_is_remembered_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.metering.upstreams.MEMO_LIMIT", 3)
    monkeypatch.setattr("proxy.metering.upstreams._REFUSALS_MAX", 3)
    found = await upstreams(tmp_path, "gpt-*")
    upstream = found.choose("gpt-5")
    for number in range(9):
        assert found.choose(f"gpt-{number}") is upstream
        upstream.refused_asking(f"gpt-{number}")
        assert not upstream.may_ask(f"gpt-{number}")
    assert len(upstream.refuses_asking) <= 3
    found.close()
