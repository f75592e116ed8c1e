"""``/v1``: who calls, what of the call metering must know, and where it goes."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from proxy.core.ids import RequestIds, to_text
from proxy.core.subscriptions import KEY_PREFIX_LENGTH, ApiKey
from proxy.core.usage import Measurement
from proxy.errors import ClosedPathError, OverloadedError, ProxyError, UnauthorizedError
from proxy.http.exchange import Exchange
from proxy.http.render import respond_error
from proxy.http.upstream import Origin
from proxy.metering.call import Call, Caller
from proxy.web.access_log import AccessLog, LogLine
from proxy.web.keys import KeyRing
from proxy.wire.endpoints import Endpoint, Metering, endpoint_for
from proxy.wire.headers import Headers, RequestHead, bearer_secret, upward
from proxy.wire.request import NO_FACTS, RequestFacts, read_facts, with_usage_asked

OPEN_WHEN_MANAGED = frozenset({"chat.completions", "models"})
_SECRET_PARAMETERS = frozenset({"api-key", "api_key", "key", "access_token"})
_WAITS_FOR_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """How calls are let through.

    ``upstream_key`` set: managed mode. ``max_body_bytes`` bounds bodies that are read whole,
    ``max_upload_bytes`` those that are streamed through.
    """

    upstream_key: str | None
    max_body_bytes: int
    max_upload_bytes: int
    max_open_requests: int


class Gateway:
    """Takes calls under ``/v1`` and has them carried."""

    def __init__(  # noqa: PLR0913 - the parts of the gateway
        self,
        options: GatewayOptions,
        *,
        origin: Origin,
        keys: KeyRing,
        caller: Caller,
        ids: RequestIds,
        clock_us: Callable[[], int],
        access_log: AccessLog | None,
    ) -> None:
        self._options = options
        self._origin = origin
        self._keys = keys
        self._caller = caller
        self._ids = ids
        self._clock_us = clock_us
        self._log = access_log
        self._running = 0
        self._managed = options.upstream_key is not None
        self._credentials: Headers | None = None
        if options.upstream_key is not None:
            bearer = b"Bearer " + options.upstream_key.encode("ascii")
            self._credentials = [(b"Authorization", bearer)]

    async def handle(self, exchange: Exchange) -> None:
        """Serve one request under ``/v1``, and log it."""
        opened_at_us = self._clock_us()
        request_id = self._ids.make(opened_at_us // 1000)
        noted = _Noted(text_id=to_text(request_id))
        try:
            self._enter()
            await self._serve(exchange, request_id, opened_at_us, noted)
        except ProxyError as error:
            if exchange.gone or exchange.started:
                raise
            respond_error(exchange, error, noted.text_id)
        finally:
            self._running -= 1
            if self._log is not None:
                self._record(exchange, opened_at_us, noted)

    def _enter(self) -> None:
        self._running += 1
        if self._running > self._options.max_open_requests:
            raise OverloadedError(
                f"The proxy is serving {self._options.max_open_requests:,} requests, its limit. "
                "Try again soon, or have the operator raise PROXY_MAX_OPEN_REQUESTS.",
                headers=((b"retry-after", b"1"),),
            )

    async def _serve(
        self, exchange: Exchange, request_id: int, opened_at_us: int, noted: "_Noted"
    ) -> None:
        head = exchange.head
        secret = bearer_secret(head.fields)
        digest, key = await self._authenticate(secret)
        noted.key = key
        noted.prefix = key.prefix if key is not None else _prefix(secret)
        endpoint = endpoint_for(head.method, head.path)
        if self._managed and (endpoint is None or endpoint.name not in OPEN_WHEN_MANAGED):
            raise _closed(head)
        body, facts = await self._read(exchange, endpoint)
        noted.model = facts.model
        asked = _asks(endpoint, facts)
        if asked and body is not None:
            body = with_usage_asked(body)
        call = Call(
            id=request_id,
            request_id=noted.text_id,
            opened_at_us=opened_at_us,
            key=key,
            key_digest=None if key is not None else digest,
            key_prefix=noted.prefix,
            endpoint=endpoint,
            facts=facts,
            head=self._upward(head, body, asked=asked),
            body=body,
            body_bytes=len(body) if body is not None else head.content_length or 0,
            chunked_upward=body is None and head.length_unknown,
            asked=asked,
            managed=self._managed,
            attempt=_attempt(head),
        )
        noted.measurement = await self._caller.carry(exchange, call)

    async def _authenticate(self, secret: bytes | None) -> tuple[bytes, ApiKey | None]:
        if secret is None:
            raise UnauthorizedError(
                "No API key was sent. Send one in the header 'Authorization: Bearer <key>'."
            )
        digest, key = await self._keys.find(secret)
        if key is None and self._managed:
            raise UnauthorizedError(
                f"Incorrect API key provided: {_prefix(secret)}…. Use a key that the operator "
                "made with 'weighbridge keys create'."
            )
        return digest, key

    async def _read(
        self, exchange: Exchange, endpoint: Endpoint | None
    ) -> tuple[bytes | None, RequestFacts]:
        """Read the body if metering needs it; otherwise it is streamed through (None)."""
        head = exchange.head
        if not head.length_unknown and not head.content_length:
            return b"", NO_FACTS
        json_body = head.fields.get(b"content-type", b"").lower().startswith(
            b"application/json"
        )
        wanted = endpoint is not None and endpoint.metering is not Metering.NEVER
        if not self._managed and not (wanted and json_body):
            exchange.refuse_larger(self._options.max_upload_bytes)
            return None, NO_FACTS
        body = await exchange.body(self._options.max_body_bytes)
        return body, read_facts(body, strict=self._managed)

    def _upward(self, head: RequestHead, body: bytes | None, *, asked: bool) -> bytes:
        path = self._origin.base_path + head.path.removeprefix("/v1")
        query = _without_secrets(head.query) if self._managed else head.query
        target = f"{path}?{query}" if query else path
        lines = [b"%b %b HTTP/1.1\r\n" % (head.method.encode(), target.encode("latin-1"))]
        lines.append(b"Host: %b\r\n" % self._origin.authority)
        headers = upward(head, credentials=self._credentials, edited=asked)
        lines += [b"%b: %b\r\n" % pair for pair in headers]
        if head.length_unknown and body is None:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif body or head.method not in _WAITS_FOR_BODY:
            length = len(body) if body is not None else head.content_length or 0
            lines.append(b"Content-Length: %d\r\n" % length)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _record(self, exchange: Exchange, opened_at_us: int, noted: "_Noted") -> None:
        assert self._log is not None  # noqa: S101 - the caller has looked
        measurement = noted.measurement
        self._log.record(
            LogLine(
                time_us=opened_at_us,
                id=noted.text_id,
                key=noted.prefix,
                subscription=noted.key.subscription if noted.key is not None else "",
                method=exchange.head.method,
                path=exchange.head.path,
                model=noted.model,
                status=exchange.status,
                state="" if measurement is None else measurement.state.value,
                tokens=0 if measurement is None else measurement.usage.tokens,
                duration_ms=(self._clock_us() - opened_at_us) / 1000,
            )
        )


@dataclass(slots=True, kw_only=True)
class _Noted:
    """What the log will say of a request, as far as it got."""

    text_id: str
    key: ApiKey | None = None
    prefix: str = ""
    model: str = ""
    measurement: Measurement | None = None


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


def _prefix(secret: bytes | None) -> str:
    """Return what may be shown of a secret: never more than a third of it."""
    shown = (secret or b"")[: min(KEY_PREFIX_LENGTH, len(secret or b"") // 3)]
    return shown.decode("ascii", "replace")


def _closed(head: RequestHead) -> ClosedPathError:
    return ClosedPathError(
        f"{head.method} {head.path} is not open here: in managed mode only paths that are metered "
        "and guarded are. Open are POST /v1/chat/completions and GET /v1/models."
    )


def _without_secrets(query: str) -> str:
    if not query:
        return query
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = [pair for pair in pairs if pair[0].lower() not in _SECRET_PARAMETERS]
    return query if len(kept) == len(pairs) else urlencode(kept)
