"""Settings: where they come from, and the sentence about one that can't be used."""

from pathlib import Path

import pytest

from proxy.errors import SettingsError
from proxy.settings import Settings, child_environment, default_text, env_name, unknown_names


def test_defaults_are_what_outsiders_rely_on() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8080, 1)
    assert settings.upstream_base_url == "https://api.openai.com/v1"
    assert settings.database_url == "sqlite:///weighbridge.db"
    assert settings.database_path == Path("weighbridge.db")
    assert settings.pricing_file == Path("pricing.toml")
    assert settings.admin_token is None
    assert settings.on_disconnect == "drain"
    assert settings.log_format == "auto"
    assert settings.mode == "passthrough"


def test_environment_sets_and_an_override_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "9000")
    monkeypatch.setenv("PROXY_ACCESS_LOG", "off")
    monkeypatch.setenv("PROXY_SETTLE_TIMEOUT", "2.5")
    settings = Settings.load(host="0.0.0.0")  # noqa: S104 - only a value here
    assert (settings.host, settings.port) == ("0.0.0.0", 9000)  # noqa: S104
    assert settings.access_log is False
    assert settings.settle_timeout_s == 2.5
    assert Settings.load(port="9001").port == 9001
    assert Settings.load(settle_timeout_s="4").settle_timeout_s == 4


def test_dotenv_file_sets_what_the_environment_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PROXY_PORT=9100\nPROXY_WORKERS=2\nOTHER=1\nPROXY_PROT=3\n")
    monkeypatch.setenv("PROXY_WORKERS", "3")
    settings = Settings.load()
    assert (settings.port, settings.workers) == (9100, 3)
    assert unknown_names() == ["PROXY_PROT"]


def test_unreadable_dotenv_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"PROXY_HOST=\xff\xfe\n")
    with pytest.raises(SettingsError, match="can't be read"):
        Settings.load()


def test_empty_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_UPSTREAM_API_KEY", "")
    assert Settings.load().mode == "passthrough"


def test_the_upstream_key_makes_managed_mode_and_is_never_shown() -> None:
    settings = Settings.load(upstream_api_key="sk-upstream-secret")
    assert settings.mode == "managed"
    assert "sk-upstream-secret" not in repr(settings)
    assert settings.upstream_api_key is not None
    assert settings.upstream_api_key.get_secret_value() == "sk-upstream-secret"


def test_paths_follow_the_database() -> None:
    settings = Settings.load(database_url="sqlite:////var/lib/weighbridge/ledger.db")
    assert settings.database_path == Path("/var/lib/weighbridge/ledger.db")
    assert settings.spool_path == Path("/var/lib/weighbridge/ledger.db.spool")
    assert Settings.load(spool_dir="elsewhere").spool_path == Path("elsewhere")


def test_base_url_loses_its_last_slash() -> None:
    assert (
        Settings.load(upstream_base_url="http://host:1/v1/").upstream_base_url == "http://host:1/v1"
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("port", "many", "PROXY_PORT can't be 'many': it must be a whole number"),
        ("port", "70000", "PROXY_PORT can't be '70000': it must be at most 65535"),
        ("port", "-1", "it must be at least 0"),
        ("drain_timeout_s", "0", "it must be more than 0"),
        ("drain_timeout_s", "long", "it must be a number"),
        ("settle_timeout_s", "x", "PROXY_SETTLE_TIMEOUT can't be 'x': it must be a number"),
        ("access_log", "perhaps", "it must be true or false"),
        ("on_disconnect", "wait", "it must be 'drain' or 'cancel'"),
        ("workers", "0", "it must be at least 1"),
        ("upstream_base_url", "ftp://host/v1", "it must be an http or https URL"),
        ("upstream_base_url", "https:///v1", "it must be an http or https URL"),
        ("upstream_base_url", "https://host/v1?a=b", "no query"),
        ("upstream_base_url", "https://u:p@host/v1", "it must not hold a password"),
        ("upstream_base_url", "https://host:x/v1", "it must be an http or https URL"),
        ("database_url", "mysql://host/db", "it must name a file"),
        ("database_url", "sqlite:///:memory:", "it must name a file"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(field: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**{field: value})
    assert said in caught.value.message
    assert env_name(field) in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("secret", ["with blank", "with\nline", "naïve"])
def test_bad_secret_is_told_without_showing_it(secret: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(upstream_api_key=secret)
    assert "PROXY_UPSTREAM_API_KEY can't be what it is set to" in caught.value.message
    assert secret not in caught.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("upstream_base_url", "https://user:hunter2@gateway/v1"),
        ("upstream_base_url", "https://gateway/v1?api_key=hunter2"),
        ("upstream_base_url", "https://gateway/v1#hunter2"),
        ("upstream_base_url", "ftp://user:hunter2@gateway/v1"),
        ("upstream_base_url", "user:hunter2@gateway/v1"),
        ("database_url", "postgresql://user:hunter2@host/weighbridge"),
    ],
)
def test_a_password_in_an_address_is_not_shown(field: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**{field: value})
    assert f"{env_name(field)} can't be what it is set to: it must" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_several_bad_ones_are_counted() -> None:
    with pytest.raises(SettingsError, match=r"1 more can't be used either"):
        Settings.load(port="x", workers="y")


def test_typos_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_UPSTREAM_URL", "x")
    monkeypatch.setenv("PROXY_SETTLE_TIMEOUT", "5")
    assert unknown_names() == ["PROXY_UPSTREAM_URL"]


def test_child_gets_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_PORT", "1")
    monkeypatch.setenv("SOMETHING", "else")
    environment = child_environment(PROXY_HOST="h")
    assert environment["SOMETHING"] == "else"
    assert {name for name in environment if name.startswith("PROXY_")} == {"PROXY_HOST"}


def test_every_setting_is_described_and_its_default_can_be_written() -> None:
    for field, info in Settings.model_fields.items():
        assert info.description
        if text := default_text(info):
            assert getattr(Settings.load(**{field: text}), field) == getattr(Settings.load(), field)


def test_one_subscription_may_have_five_thousand_streams_by_default() -> None:
    settings = Settings.load()
    assert settings.open_share >= 5000
    assert settings.upstream_connections >= settings.max_open_requests
