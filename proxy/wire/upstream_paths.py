"""How a path under ``/v1`` is written at upstreams of different kinds."""

from enum import StrEnum
from typing import Final
from urllib.parse import quote

from proxy.errors import BadRequestError


class UpstreamKind(StrEnum):
    """How an upstream wants to be spoken to; what is said is the same."""

    OPENAI = "openai"
    """Paths after the base URL, the key as a bearer token: most of them."""
    AZURE = "azure"
    """The model's deployment in the path, ``api-version`` in the query, the key in ``api-key``."""
    ANTHROPIC = "anthropic"
    """As OpenAI, but the key in ``x-api-key`` beside ``anthropic-version``."""


ANTHROPIC_VERSION: Final = b"2023-06-01"
"""The version that is asked for where a client names none."""

AZURE_PREFIX: Final = "/openai/"
"""How Azure's paths begin: clients made for Azure write them so."""

_AFTER_BASE: Final = frozenset({b"/", b"?", b"#"})

_OF_A_DEPLOYMENT: Final = frozenset(
    {
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/images/generations",
        "/images/edits",
    }
)
"""The operations that Azure has under a deployment (as the official SDK writes their paths)."""


def azure_path(base_path: str, path: str, model: str) -> str:
    """Write a path (``/chat/completions``) for an Azure resource; its query is the caller's.

    Raises BadRequestError where a model can't be a deployment's name.
    """
    root = base_path.removesuffix("/openai") + "/openai"
    if path not in _OF_A_DEPLOYMENT:
        return root + path
    if not model.strip("."):
        raise BadRequestError(
            "The member 'model' must name a deployment of this upstream.", param="model"
        )
    return f"{root}/deployments/{quote(model, safe='')}{path}"


def with_api_version(query: str, api_version: str) -> str:
    """Add Azure's ``api-version`` to a query that has none."""
    if not api_version or any(pair.startswith("api-version=") for pair in query.split("&")):
        return query
    added = f"api-version={quote(api_version, safe='')}"
    return f"{query}&{added}" if query else added


def local_location(location: bytes, authority: bytes, base_path: str, kind: UpstreamKind) -> bytes:
    """Write an address of the upstream's as its clients here know it; others are left alone.

    ``authority`` and ``base_path`` are the upstream's. Of its scheme it may itself know only half,
    behind something that ends TLS.
    """
    path = _path_at(location, authority)
    base = base_path.encode("latin-1")
    rest = path[len(base) :]
    if kind is not UpstreamKind.AZURE and path.startswith(base) and rest[:1] in _AFTER_BASE:
        return b"/v1" + rest
    return path if path.startswith(AZURE_PREFIX.encode()) else location


def _path_at(location: bytes, authority: bytes) -> bytes:
    """Return an address's path and what follows, if it is at ``authority``; else nothing."""
    if location.startswith(b"/"):
        return b"" if location.startswith(b"//") else location
    scheme, _, rest = location.partition(b"://")
    place, path = rest[: len(authority)], rest[len(authority) :]
    if scheme.lower() not in {b"http", b"https"} or place.lower() != authority.lower():
        return b""
    return path if path.startswith(b"/") else b""
