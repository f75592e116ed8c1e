"""``/v1``: who calls, what of the call metering must know, and where it goes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import unquote

import msgspec

from proxy.core.ids import RequestIds, to_text
from proxy.core.subscriptions import NO_SECRET, ApiKey
from proxy.core.usage import Measurement
from proxy.errors import (
    BadRequestError,
    ClosedPathError,
    ProxyError,
    UnauthorizedError,
)
from proxy.http.exchange import Exchange
from proxy.http.render import respond_error
from proxy.metering.call import Call, Caller, RefusedError, Request
from proxy.metering.deferrals import Deferrals
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.web.access_log import AccessLog, LogLine
from proxy.web.bodies import BodyReader, ReadBody
from proxy.web.keys import KeyRing
from proxy.web.model_gate import ModelGate
from proxy.web.model_list import ModelList
from proxy.web.secrets import prefix_of, shown_secret, without_secrets
from proxy.web.shares import OpenShares, Stranger, Strangers
from proxy.web.sockets import Sockets, Visit
from proxy.wire.endpoints import (
    ENDPOINTS,
    MODEL,
    MODELS,
    Endpoint,
    azure_deployment,
    endpoint_for,
)
from proxy.wire.headers import RequestHead, is_preflight, upward
from proxy.wire.request import RequestFacts, with_usage_asked
from proxy.wire.upstream_paths import ANTHROPIC_VERSION, AZURE_PREFIX, UpstreamKind

_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """How calls are let through.

    ``managed``: clients hold keys of ours. ``max_body_bytes`` bounds bodies that are read whole,
    ``max_upload_bytes`` those that are streamed through.
    """

    managed: bool
    max_body_bytes: int
    max_upload_bytes: int


class Gateway:
    """Takes calls under ``/v1`` and has them carried."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        upstreams: Upstreams,
        keys: KeyRing,
        caller: Caller,
        sockets: Sockets,
        ids: RequestIds,
        models: ModelGate,
        deferrals: Deferrals,
        shares: OpenShares,
        clock_us: Callable[[], int],
        access_log: AccessLog | None,
    ) -> None:
        self._options = options
        self._upstreams = upstreams
        self._keys = keys
        self._caller = caller
        self._sockets = sockets
        self._ids = ids
        self._gate = models
        self._deferrals = deferrals
        self._clock_us = clock_us
        self._log = access_log
        self._open = shares
        self._strangers = Strangers(clock_us)
        self._managed = options.managed
        self._reader = BodyReader(
            managed=options.managed,
            max_body_bytes=options.max_body_bytes,
            max_upload_bytes=options.max_upload_bytes,
        )
        self._models = ModelList(upstreams)

    async def handle(self, exchange: Exchange) -> None:
        """Serve one request under ``/v1``, and log it."""
        opened_at_us = self._clock_us()
        request_id = self._ids.make(opened_at_us // 1000)
        noted = _Noted(text_id=to_text(request_id), began_s=time.monotonic())
        try:
            self._open.enter()
            await self._serve(exchange, request_id, opened_at_us, noted)
        except ProxyError as error:
            if isinstance(error, RefusedError) and error.status == UnauthorizedError.status:
                self._keys.forget()
            if exchange.gone or exchange.started:
                raise
            respond_error(exchange, error, noted.text_id)
        finally:
            self._open.leave(noted.owner)
            if noted.stranger is not None:
                noted.stranger.leave()
            if self._log is not None:
                self._record(exchange, opened_at_us, noted)

    async def _serve(
        self, exchange: Exchange, request_id: int, opened_at_us: int, noted: "_Noted"
    ) -> None:
        head = exchange.head
        secret = shown_secret(head)
        digest, key = self._keys.known(secret) or await self._authenticate(secret, head)
        noted.prefix = key.prefix if key is not None else prefix_of(secret)
        self._count_in(exchange, noted, digest, key)
        endpoint = endpoint_for(head.method, head.path)
        if head.upgrade and self._sockets.take(head, endpoint):
            await self._serve_socket(exchange, endpoint, noted, (request_id, opened_at_us, digest))
            return
        if head.upgrade:
            exchange.stay_http()
        if self._managed and (endpoint is None or not endpoint.managed or endpoint.socket):
            raise _closed(head)
        read = await self._reader.read(exchange, endpoint)
        body, facts, model = read.body, read.facts, read.facts.model
        if not model or head.path.startswith(AZURE_PREFIX):
            model = self._model(head, endpoint, facts)
        noted.model = model
        if model:
            self._gate.admit(key, model)
        if facts.named or facts.unread:
            self._gate.admit_others(key, facts)
        upstream = self._upstreams.choose(model)
        deferral = None
        if endpoint is not None and endpoint.objects:
            deferral = await self._deferrals.of(endpoint, head, key, upstream, facts)
            upstream = deferral.upstream
        if endpoint is MODELS and self._upstreams.several:
            await self._models.answer(exchange, noted.text_id)
            return
        asked = _asks(endpoint, facts) and upstream.may_ask(model)
        unasked = None
        if asked and body is not None:
            unasked = partial(self._unasked, upstream, head, read, model)
            body = with_usage_asked(body if read.ours else self._reader.plain(head, body))
        exchange.hold_at_least(len(body or b"") + len(read.plain or b""))
        call = Call(
            id=request_id,
            request_id=noted.text_id,
            opened_at_us=opened_at_us,
            key=key,
            key_digest=None if key is not None else digest,
            key_prefix=noted.prefix,
            endpoint=endpoint,
            upstream=upstream,
            model=model,
            facts=facts,
            shape=read.shape,
            form=read.form,
            head=self._upward(upstream, head, body, model, asked=asked, ours=asked or read.ours),
            body=body,
            plain=read.plain,
            body_bytes=_length(body, read.plain, head),
            chunked_upward=body is None and head.length_unknown,
            asked=asked,
            unasked=unasked,
            managed=self._managed,
            attempt=_attempt(head),
            deferral=deferral,
            welcome=None if noted.stranger is None else noted.stranger.welcome,
        )
        noted.measurement = await self._caller.carry(exchange, call)
        if noted.measurement is not None:
            self._gate.note(model, noted.measurement)
        noted.model = call.model

    def _count_in(
        self, exchange: Exchange, noted: "_Noted", digest: bytes, key: ApiKey | None
    ) -> None:
        """Count the request as its client's; TooManyRequestsError where that has too many."""
        noted.key = key
        owner = exchange.holder = digest if key is None else key.subscription_id
        self._open.claim(owner)
        noted.owner = owner
        if key is None:
            noted.stranger = self._strangers.enter(exchange.peer, digest)

    async def _serve_socket(
        self,
        exchange: Exchange,
        endpoint: Endpoint | None,
        noted: "_Noted",
        identity: tuple[int, int, bytes],
    ) -> None:
        head = exchange.head
        request_id, opened_at_us, digest = identity
        visit = Visit(
            id=request_id,
            request_id=noted.text_id,
            opened_at_us=opened_at_us,
            key=noted.key,
            key_now=partial(self._key_now, head),
            key_digest=digest,
            key_prefix=noted.prefix,
            query=without_secrets(head.query) if self._managed else head.query,
            attempt=_attempt(head),
            welcome=None if noted.stranger is None else noted.stranger.welcome,
        )
        noted.model, noted.measurement = await self._sockets.carry(exchange, endpoint, visit)

    async def _key_now(self, head: RequestHead) -> ApiKey | None:
        """Return the key of a client that is here already; it may have been revoked since."""
        secret = shown_secret(head)
        _, key = self._keys.known(secret) or await self._authenticate(secret, head)
        return key

    async def _authenticate(
        self, secret: bytes | None, head: RequestHead
    ) -> tuple[bytes, ApiKey | None]:
        if secret is None and not self._managed and is_preflight(head):
            secret = NO_SECRET
        if secret is None:
            raise UnauthorizedError(
                "No API key was sent. Send one in the header 'Authorization: Bearer <key>'."
            )
        digest, key = await self._keys.find(secret)
        if key is None and self._managed:
            raise UnauthorizedError(
                f"Incorrect API key provided: {prefix_of(secret)}…. Use a key that the operator "
                "made with 'weighbridge keys create'."
            )
        return digest, key

    def _model(self, head: RequestHead, endpoint: Endpoint | None, facts: RequestFacts) -> str:
        """Return the model that is asked for where the path has a say.

        Azure goes by the deployment in the path, others by the body: in managed mode both must
        mean the same unless an Azure gets it, or a model could pass for another.
        """
        if endpoint is MODEL:
            return unquote(head.path.removesuffix("/").rpartition("/")[2])
        deployment = unquote(azure_deployment(head.path) or "")
        if not self._managed or not deployment:
            return facts.model or deployment
        kind = self._upstreams.choose(deployment).kind
        if facts.model not in {"", deployment} and kind is not UpstreamKind.AZURE:
            raise BadRequestError(
                f"The path names the model {deployment!r}, the body {facts.model!r}: name one.",
                param="model",
            )
        return deployment

    def _unasked(
        self, upstream: Upstream, head: RequestHead, read: ReadBody, model: str
    ) -> Request:
        """Write the client's own request, for an upstream that refused to be asked for usage."""
        body = read.body or b""
        return self._upward(upstream, head, body, model, asked=False, ours=read.ours), body

    def _upward(
        self,
        upstream: Upstream,
        head: RequestHead,
        body: bytes | None,
        model: str,
        *,
        asked: bool,
        ours: bool,
    ) -> bytes:
        lines = self._upward_lines(upstream, head, model, asked=asked, ours=ours)
        if head.length_unknown and body is None:
            return b"%bTransfer-Encoding: chunked\r\n\r\n" % lines
        length = len(body) if body is not None else head.content_length or 0
        if length or head.method not in _BODILESS:
            return b"%bContent-Length: %d\r\n\r\n" % (lines, length)
        return b"%b\r\n" % lines

    def _upward_lines(
        self, upstream: Upstream, head: RequestHead, model: str, *, asked: bool, ours: bool
    ) -> bytes:
        """Write all but the length: the same for most requests of a connection."""
        what = (upstream, asked, ours, head.method, head.path, head.query, model)
        last: tuple[object, bytes] | None = head.memo.get(_LINES)
        if last is not None and last[0] == what:
            return last[1]
        query = without_secrets(head.query) if self._managed else head.query
        target = upstream.target(head.path, query, model)
        line = f"{head.method} {target} HTTP/1.1\r\n".encode("latin-1")
        headers = upward(head, credentials=upstream.credentials, edited=asked, rewritten=ours)
        if upstream.kind is UpstreamKind.ANTHROPIC and b"anthropic-version" not in head.fields:
            headers.append((b"anthropic-version", ANTHROPIC_VERSION))
        host = (b"Host", upstream.pool.origin.authority)
        lines = b"".join([line, *(b"%b: %b\r\n" % pair for pair in (host, *headers))])
        head.memo[_LINES] = what, lines
        return lines

    def _record(self, exchange: Exchange, opened_at_us: int, noted: "_Noted") -> None:
        assert self._log is not None  # noqa: S101 - the caller has looked
        measurement = noted.measurement
        # Not by the clock: it may be set back meanwhile.
        took_s = time.monotonic() - noted.began_s
        self._log.record(
            LogLine(
                time=datetime.fromtimestamp(opened_at_us / 1_000_000, UTC),
                id=noted.text_id,
                key=noted.prefix,
                subscription=noted.key.subscription if noted.key is not None else "",
                method=exchange.head.method,
                path=exchange.head.path,
                model=noted.model,
                status=exchange.status,
                state="" if measurement is None else measurement.state,
                tokens=0 if measurement is None else measurement.usage.tokens,
                ms=int(took_s * 10_000) / 10,
            )
        )


class _Noted(msgspec.Struct, kw_only=True):
    """What the log will say of a request, as far as it got."""

    text_id: str
    began_s: float
    key: ApiKey | None = None
    owner: int | bytes | None = None
    stranger: Stranger | None = None
    prefix: str = ""
    model: str = ""
    measurement: Measurement | None = None


_LINES = "lines"
"""What is remembered with the headers of a connection's last request."""

_OPEN = ", ".join(
    f"{row.method} {row.path}{' (WebSocket)' if row.socket else ''}"
    for row in ENDPOINTS
    if row.managed
)


def _asks(endpoint: Endpoint | None, facts: RequestFacts) -> bool:
    return (
        endpoint is not None
        and endpoint.injects
        and facts.stream
        and facts.may_ask
        and not facts.include_usage
    )


def _attempt(head: RequestHead) -> int:
    """Return the SDK's count of retries: each one asks the upstream again, and is billed."""
    text = head.fields.get(b"x-stainless-retry-count", b"0")
    return int(text) if text.isdigit() and len(text) < 4 else 0


def _length(body: bytes | None, plain: bytes | None, head: RequestHead) -> int:
    if body is None:
        return head.content_length or 0
    return len(plain) if plain else len(body)


def _closed(head: RequestHead) -> ClosedPathError:
    return ClosedPathError(
        f"{head.method} {head.path} is not open here: in managed mode only paths that are metered "
        f"and guarded are. Open are {_OPEN}."
    )
