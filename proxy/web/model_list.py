"""``GET /v1/models`` where there are several upstreams: one list of what each of them serves."""

import asyncio
import logging
from typing import Any, Final

import msgspec

from proxy.core.matching import WILDCARD
from proxy.errors import ProxyError, UpstreamError
from proxy.http.exchange import Exchange
from proxy.http.fetch import fetch
from proxy.http.render import REQUEST_ID_HEADER
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.wire.upstream_paths import ANTHROPIC_VERSION, UpstreamKind

LIST_BYTES_MAX: Final = 16 * 1024 * 1024
LIST_TIMEOUT_S: Final = 20.0
log = logging.getLogger("weighbridge")


class _Listed(msgspec.Struct, gc=False):
    data: list[dict[str, Any]] = []


_listed = msgspec.json.Decoder(_Listed)


class ModelList:
    """Merges the upstreams' lists. A model is listed once: by the upstream that serves it."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    async def answer(self, exchange: Exchange, request_id: str) -> None:
        """Answer with the merged list; an upstream that can't be read only lacks.

        Errors: UpstreamError where none can be.
        """
        upstreams = list(self._upstreams)
        lists = await asyncio.gather(*(self._list(upstream) for upstream in upstreams))
        if all(models is None for models in lists):
            raise UpstreamError("No upstream gave its list of models. Try again.")
        models = [model for models in lists for model in models or ()]
        body = msgspec.json.encode({"object": "list", "data": models})
        headers = [(b"content-type", b"application/json")]
        exchange.respond(200, [*headers, (REQUEST_ID_HEADER, request_id.encode())], body)

    async def _list(self, upstream: Upstream) -> list[dict[str, Any]] | None:
        """Return what an upstream serves; None where that can't be learnt."""
        named = [name for name in upstream.models if WILDCARD not in name]
        if upstream.kind is UpstreamKind.AZURE:  # it lists models, but not deployments
            return [_entry(upstream, {"id": name}) for name in named]
        try:
            answer = await fetch(
                upstream.pool, _head(upstream), limit=LIST_BYTES_MAX, timeout_s=LIST_TIMEOUT_S
            )
            listed = _listed.decode(answer.body).data if answer.head.status == 200 else None
        except (ProxyError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
            listed = None
        if listed is None:
            log.warning("the upstream %s does not list its models", upstream.name)
            return [_entry(upstream, {"id": name}) for name in named] or None
        return [_entry(upstream, model) for model in listed if self._serves(upstream, model)]

    def _serves(self, upstream: Upstream, model: dict[str, Any]) -> bool:
        name = model.get("id")
        return isinstance(name, str) and self._upstreams.choose(name) is upstream


def _entry(upstream: Upstream, model: dict[str, Any]) -> dict[str, Any]:
    """Return a model as its upstream describes it, with what OpenAI's SDKs need beside."""
    return (
        {"object": "model", "created": 0, "owned_by": upstream.name} | model | {"object": "model"}
    )


def _head(upstream: Upstream) -> bytes:
    target = upstream.target("/v1/models", "", "")
    lines = [
        b"GET %b HTTP/1.1" % target.encode("latin-1"),
        b"Host: %b" % upstream.pool.origin.authority,
        b"Accept: application/json",
    ]
    lines += [b"%b: %b" % pair for pair in upstream.credentials or ()]
    if upstream.kind is UpstreamKind.ANTHROPIC:
        lines.append(b"anthropic-version: %b" % ANTHROPIC_VERSION)
    return b"\r\n".join(lines) + b"\r\n\r\n"
