"""The options of ``serve`` are the settings, but for the secrets."""

import pytest

from proxy.cli.options import help_text, option_name, parse
from proxy.errors import SettingsError
from proxy.settings import Settings, env_name, is_secret


def test_both_ways_to_write_an_option() -> None:
    assert parse(["--port", "9000", "--on-disconnect=cancel"]) == {
        "port": "9000",
        "on_disconnect": "cancel",
    }
    assert parse([]) == {}


def test_a_value_may_hold_what_separates() -> None:
    assert parse(["--database-url=sqlite:///a=b.db"]) == {"database_url": "sqlite:///a=b.db"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prot", "1"], "did you mean --port?"),
        (["9000"], "9000 is no option of serve"),
        (["--port"], "--port lacks its value"),
        (["--upstream-api-key", "sk-secret"], "set PROXY_UPSTREAM_API_KEY"),
        (["--admin-token=secret"], "set PROXY_ADMIN_TOKEN"),
    ],
)
def test_what_is_no_option_is_told(arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(arguments)
    assert said in caught.value.message
    assert "secret" not in caught.value.message.replace("would show a secret", "")


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_is_listed_and_is_an_option_unless_secret(field: str) -> None:
    info = Settings.model_fields[field]
    assert env_name(field) in help_text()
    assert (option_name(field) in help_text().split()) is not is_secret(info)
