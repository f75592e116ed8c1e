"""The settings: ``PROXY_*`` from the environment or ``.env``, checked once, at the start.

This is the only module that reads the environment. A setting that can't be used stops the
start with one sentence; :func:`proxy.cli.options.help_text` and the README list what is here.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from proxy.errors import SettingsError

PREFIX = "PROXY_"
ENV_FILE = ".env"
_SQLITE = "sqlite:///"
_MEBIBYTE = 1 << 20


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        reachable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        reachable = False
    if not reachable:
        raise ValueError("it must be an http or https URL, such as https://api.openai.com/v1")
    if parts.query or parts.fragment:
        raise ValueError("it must end with its path: no query, no fragment")
    if parts.username or parts.password:
        raise ValueError("it must not hold a password: keys go into PROXY_UPSTREAM_API_KEY")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    path = value.removeprefix(_SQLITE)
    if path == value or path in {"", ":memory:"} or "?" in path:
        raise ValueError("it must name a file, such as sqlite:///weighbridge.db")
    return value


def header_safe(value: SecretStr) -> SecretStr:
    """Return a secret that fits into a header; ValueError for another."""
    secret = value.get_secret_value()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("it must be printable ASCII without blanks, to fit into a header")
    return value


_PROBLEMS = {
    "int_parsing": "it must be a whole number",
    "float_parsing": "it must be a number",
    "bool_parsing": "it must be true or false",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "literal_error": "it must be {expected}",
}

BaseUrl = Annotated[str, AfterValidator(_base_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Secret = Annotated[SecretStr, AfterValidator(header_safe)]


class Settings(BaseSettings):
    """Everything an operator can set. Units are in the names; ``None`` means unset."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 for any free one")
    upstream_base_url: BaseUrl = Field(
        "https://api.openai.com/v1", description="the API behind the proxy; it stands for /v1 here"
    )
    upstream_api_key: Secret | None = Field(
        None, description="the upstream's key; set: managed mode, unset: clients send their own"
    )
    upstreams_file: Path | None = Field(
        None, description="TOML table of further upstreams, by model; managed mode only"
    )
    database_url: DatabaseUrl = Field(
        "sqlite:///weighbridge.db", description="where the ledger is kept"
    )
    pricing_file: Path = Field(Path("pricing.toml"), description="the prices")
    admin_token: Secret | None = Field(
        None, description="opens the admin surface; unset: it is off"
    )
    workers: int = Field(1, ge=1, le=64, description="processes that share port and ledger")
    on_disconnect: Literal["drain", "cancel"] = Field(
        "drain", description="client gone: read the answer to its end, or cancel it upstream"
    )
    drain_timeout_s: float = Field(
        120, gt=0, le=3600, description="longest drain after a client went away"
    )
    drain_bytes: int = Field(
        64 * _MEBIBYTE, ge=0, description="most bytes drained after a client went away"
    )
    drains_per_subscription: int = Field(
        256,
        ge=0,
        le=1_000_000,
        description="drains of a subscription in a worker; beyond it answers are cancelled",
    )
    settle_timeout_s: float = Field(
        5,
        gt=0,
        le=300,
        validation_alias="PROXY_SETTLE_TIMEOUT",
        description="seconds until a settlement that the ledger can't take goes to the spool",
    )
    spool_dir: Path | None = Field(
        None,
        description="folder of the settle spool; ledgers may share it; unset: beside the database",
    )
    close_grace_s: float = Field(
        3600, ge=0, le=31 * 86_400, description="from a period's end to its closing"
    )
    poll_interval_s: float = Field(
        2, gt=0, le=3600, description="first pause before asking how a background response ended"
    )
    deferred_lifetime_s: float = Field(
        48 * 3600,
        gt=0,
        le=31 * 86_400,
        description="after that, what is deferred and has no end is settled as partial",
    )
    max_body_bytes: int = Field(
        64 * _MEBIBYTE, ge=1024, description="largest request body that metering reads whole"
    )
    max_upload_bytes: int = Field(
        1024 * _MEBIBYTE, ge=1024, description="largest request body that is streamed through"
    )
    max_held_bytes: int = Field(
        1024 * _MEBIBYTE,
        ge=1024,
        description="request bodies that a worker holds at a time; half of it for one subscription",
    )
    max_connections: int = Field(
        16_384, ge=1, le=1_000_000, description="client connections of a worker"
    )
    max_open_requests: int = Field(
        12_288, ge=1, le=1_000_000, description="requests of a worker that may run at a time"
    )
    max_open_requests_per_subscription: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="those of one subscription; 0: no such bound; unset: half of all",
    )
    client_timeout_s: float = Field(
        60, gt=0, le=3600, description="longest silence of a client that is sending or reading"
    )
    keepalive_timeout_s: float = Field(
        75, gt=0, le=3600, description="how long an idle client connection is kept"
    )
    upstream_connect_timeout_s: float = Field(
        10, gt=0, le=300, description="to connect to the upstream, TLS included"
    )
    upstream_timeout_s: float = Field(
        600, gt=0, le=86_400, description="longest silence of the upstream"
    )
    upstream_connections: int = Field(
        12_288, ge=1, le=1_000_000, description="connections of a worker to the upstream"
    )
    upstream_idle_s: float = Field(
        55, ge=0, le=3600, description="how long an idle upstream connection is kept"
    )
    shutdown_grace_s: float = Field(
        30, ge=0, le=3600, description="after SIGTERM, what streams have to finish"
    )
    access_log: bool = Field(default=True, description="one line a request")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, otherwise json"
    )

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the settings; ``overrides`` (by field name) come before the environment.

        Raises:
            SettingsError: One cannot be used; the message is one sentence.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as error:
            raise SettingsError(_sentence(error)) from None
        except (OSError, UnicodeDecodeError) as error:
            message = f"{ENV_FILE} can't be read: {error}; correct it, or take it away."
            raise SettingsError(message) from None

    @property
    def mode(self) -> Literal["managed", "passthrough"]:
        """Who holds the upstream's key: the proxy, or its clients."""
        return "passthrough" if self.upstream_api_key is None else "managed"

    @property
    def open_share(self) -> int:
        """How many requests of one subscription may run at a time in a worker; 0: any number."""
        share = self.max_open_requests_per_subscription
        return max(1, self.max_open_requests // 2) if share is None else share

    @property
    def database_path(self) -> Path:
        """The ledger's file."""
        return Path(self.database_url.removeprefix(_SQLITE))

    @property
    def spool_path(self) -> Path:
        """The folder of the settle spool."""
        return self.spool_dir or self.database_path.with_name(self.database_path.name + ".spool")


def env_name(field: str) -> str:
    """Return the name by which operators set a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def is_secret(info: FieldInfo) -> bool:
    """Tell whether a setting's value must never be shown, or stand in a command line."""
    return "SecretStr" in str(info.annotation)


def default_text(info: FieldInfo) -> str:
    """Return a setting's default as an operator would write it; empty if it is unset."""
    if isinstance(info.default, bool):
        return "true" if info.default else "false"
    return "" if info.default is None else str(info.default)


def unknown_names() -> list[str]:
    """Return the ``PROXY_*`` variables, of ``.env`` too, that are no settings: often typos."""
    known = {env_name(field) for field in Settings.model_fields}
    given = {*os.environ, *dotenv_values(ENV_FILE)}  # noqa: TID251 - the environment's home
    return sorted(name for name in given - known if name.startswith(PREFIX))


def variable(name: str) -> str | None:
    """Return a variable that a table of ours names, from the environment or ``.env``."""
    value = os.environ.get(name)  # noqa: TID251 - the environment's home
    return value or dotenv_values(ENV_FILE).get(name) or None


def child_environment(**overrides: str) -> dict[str, str]:
    """Return an environment for a process of ours: this one's without any ``PROXY_*``, and more."""
    environment = os.environ.items()  # noqa: TID251 - the environment's home
    inherited = {name: value for name, value in environment if not name.startswith(PREFIX)}
    return inherited | overrides


def _sentence(error: ValidationError) -> str:
    first, *others = error.errors(include_url=False)
    location = str(first["loc"][0])
    field = next(f for f in Settings.model_fields if location in {f, env_name(f)})
    problem = _PROBLEMS.get(first["type"], "{message}").format(
        message=first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be"),
        **first.get("ctx", {}),
    )
    secret = is_secret(Settings.model_fields[field]) or _may_hold_secret(first["input"])
    value = "what it is set to" if secret else repr(first["input"])
    text = f"{env_name(field)} can't be {value}: {problem}"
    if others:
        text += f" ({len(others)} more can't be used either)"
    return f"{text}; change it where it is set: command line, environment or .env."


def _may_hold_secret(value: object) -> bool:
    """Tell whether a value is like an address with a password before its host, or a key behind."""
    return isinstance(value, str) and any(mark in value for mark in "@?#")
