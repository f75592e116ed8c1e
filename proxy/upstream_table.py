"""``PROXY_UPSTREAMS_FILE``: further upstreams beside the default one, and whose models they are.

One table each, in TOML::

    [[upstream]]
    name = "azure-eu"
    kind = "azure"                        # openai (the default) | azure | anthropic
    base_url = "https://acme-eu.openai.azure.com"
    api_version = "2024-10-21"            # azure only
    api_key_env = "AZURE_EU_KEY"          # or api_key = "..."; without either, none is sent
    models = ["gpt-4o-eu", "o1-*"]        # exact names come before globs, longer ones first
    asks_usage = true                     # false: it refuses stream_options
    provider = "azure"                    # who answers, for estimates
"""

import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from proxy.errors import SettingsError
from proxy.http.connecting import Origin, UpstreamLimits
from proxy.http.moderation import Moderation
from proxy.http.pool import UpstreamPool
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.settings import BaseUrl, Secret, Settings, header_safe, variable
from proxy.wire.headers import Headers
from proxy.wire.upstream_paths import UpstreamKind

_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
DEFAULT_NAME: Final = "default"


def _sequence(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class UpstreamRow(BaseModel):
    """One further upstream, as its operator describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    name: str = Field(pattern=_NAME)
    base_url: BaseUrl
    models: Annotated[tuple[str, ...], BeforeValidator(_sequence)] = Field(min_length=1)
    kind: Literal["openai", "azure", "anthropic"] = "openai"
    api_key: Annotated[Secret | None, Field(strict=False)] = None
    api_key_env: str | None = None
    api_version: str = ""
    asks_usage: bool = True
    provider: str = ""

    @property
    def key(self) -> SecretStr | None:
        """The upstream's key: as written, or from the environment; ValueError for a bad one."""
        if self.api_key is not None or self.api_key_env is None:
            return self.api_key
        value = variable(self.api_key_env)
        return None if value is None else header_safe(SecretStr(value))


def read_upstreams(path: Path) -> tuple[UpstreamRow, ...]:
    """Read the table.

    Raises:
        SettingsError: It can't be used; the message is one sentence, and shows no secret.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, f"can't be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise _refused(path, f"is no TOML: {error}") from None
    tables = document.pop("upstream", [])
    if document or not isinstance(tables, list):
        raise _refused(path, "must hold [[upstream]] tables and nothing else")
    rows = tuple(_row(path, number, table) for number, table in enumerate(tables, start=1))
    _refuse_clashes(path, rows)
    return rows


def _row(path: Path, number: int, table: object) -> UpstreamRow:
    try:
        row = UpstreamRow.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        problem = first["msg"].removeprefix("Value error, ")
        raise _refused(path, f"can't use {place} of upstream {number}: {problem}") from None
    if row.name == DEFAULT_NAME:
        raise _refused(path, f"names upstream {number} {DEFAULT_NAME!r}, which the settings are")
    if row.kind == "azure" and not row.api_version:
        raise _refused(path, f"gives no api_version for the upstream {row.name!r}")
    if row.api_key_env is not None:
        _require_key(path, row)
    return row


def _require_key(path: Path, row: UpstreamRow) -> None:
    source = f"takes {row.name!r}'s key from {row.api_key_env}, which"
    try:
        key = row.key
    except ValueError as error:
        raise _refused(path, f"{source} can't be used: {error}") from None
    if key is None:
        raise _refused(path, f"{source} is unset")


def _refuse_clashes(path: Path, rows: tuple[UpstreamRow, ...]) -> None:
    names: set[str] = set()
    owners: dict[str, str] = {}
    for row in rows:
        if row.name in names:
            raise _refused(path, f"names two upstreams {row.name!r}")
        names.add(row.name)
        for pattern in row.models:
            if pattern in owners:
                both = f"{owners[pattern]!r} and {row.name!r}"
                raise _refused(path, f"sends {pattern!r} to {both}")
            owners[pattern] = row.name


def _refused(path: Path, problem: str) -> SettingsError:
    return SettingsError(f"PROXY_UPSTREAMS_FILE: {path} {problem}; correct it.")


def upstreams_of(settings: Settings, *, connections: int, moderation: Moderation) -> Upstreams:
    """Make the upstreams: the default one of the settings, and those of the table.

    ``connections`` bounds those to each of them; ``moderation`` is for all of them. Needs a
    running event loop. Raises SettingsError for a table that can't be used.
    """
    limits = UpstreamLimits(
        connections=connections,
        connect_timeout_s=settings.upstream_connect_timeout_s,
        silence_timeout_s=settings.upstream_timeout_s,
        idle_s=settings.upstream_idle_s,
    )
    key = settings.upstream_api_key
    pool = _pool(settings.upstream_base_url, limits, moderation)
    default = Upstream(
        name=DEFAULT_NAME,
        pool=pool,
        credentials=None if key is None else credentials_of(UpstreamKind.OPENAI, key),
        provider="azure" if "azure" in pool.origin.host else "openai",
    )
    rows = rows_of(settings)
    return Upstreams(
        default, [_upstream(row, _pool(row.base_url, limits, moderation)) for row in rows]
    )


def rows_of(settings: Settings) -> tuple[UpstreamRow, ...]:
    """Return the table's rows; SettingsError where it can't be used, or not in this mode."""
    if settings.upstreams_file is None:
        return ()
    if settings.mode != "managed":
        raise SettingsError(
            "PROXY_UPSTREAMS_FILE needs managed mode, since in passthrough the clients' keys would "
            "go to upstreams that they are not for; set PROXY_UPSTREAM_API_KEY."
        )
    return read_upstreams(settings.upstreams_file)


def origin_of(base_url: str) -> Origin:
    """Split a base URL into where to connect and what to put before each path."""
    parts = urlsplit(base_url)
    default = 443 if parts.scheme == "https" else 80
    return Origin(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or default,
        base_path=parts.path.rstrip("/"),
    )


def credentials_of(kind: UpstreamKind, key: SecretStr | None) -> Headers:
    """Return the headers that open an upstream; none where it needs no key."""
    if key is None:
        return []
    secret = key.get_secret_value().encode("ascii")
    if kind is UpstreamKind.AZURE:
        return [(b"api-key", secret)]
    if kind is UpstreamKind.ANTHROPIC:
        return [(b"x-api-key", secret)]
    return [(b"Authorization", b"Bearer " + secret)]


def _pool(base_url: str, limits: UpstreamLimits, moderation: Moderation) -> UpstreamPool:
    return UpstreamPool(
        origin_of(base_url), limits, tls=ssl.create_default_context, moderation=moderation
    )


def _upstream(row: UpstreamRow, pool: UpstreamPool) -> Upstream:
    kind = UpstreamKind(row.kind)
    return Upstream(
        name=row.name,
        pool=pool,
        credentials=credentials_of(kind, row.key),
        kind=kind,
        provider=row.provider or row.kind,
        models=row.models,
        api_version=row.api_version,
        asks_usage=row.asks_usage,
    )
