"""WebSockets under ``/v1``: what must be known of one before it is carried."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.core.ids import RequestIds
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement
from proxy.errors import BadRequestError
from proxy.http.exchange import Exchange
from proxy.metering.call import Call
from proxy.metering.finishing import Finisher
from proxy.metering.session import AppendingSession, SessionCaller, UnmeteredSession
from proxy.metering.session_relay import Guard
from proxy.metering.turn_session import TurnRules, TurnSession
from proxy.metering.upstreams import Upstream, Upstreams
from proxy.web.model_gate import ModelGate
from proxy.wire.endpoints import RESPONSES_SOCKET, Endpoint
from proxy.wire.headers import RequestHead
from proxy.wire.request import RequestFacts
from proxy.wire.session_guard import SessionGuard, Unguarded
from proxy.wire.websocket_handshake import handshake_upward, is_websocket, model_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Who asks for a socket, and by which request; ``query`` is without secrets.

    ``key_now`` looks the key up again, and raises ProxyError for one that was revoked. ``welcome``
    is called once the key is seen to work.
    """

    id: int
    request_id: str
    opened_at_us: int
    key: ApiKey | None
    key_now: Callable[[], Awaitable[ApiKey | None]]
    key_digest: bytes
    key_prefix: str
    query: str
    attempt: int
    welcome: Callable[[], None] | None = None


class Sockets:
    """Has sockets carried: metered, and in managed mode guarded.

    Passthrough carries those at unknown paths, too, as it does with requests: not metered.
    """

    def __init__(
        self,
        sessions: SessionCaller,
        *,
        managed: bool,
        upstreams: Upstreams,
        gate: ModelGate,
        finisher: Finisher,
        ids: RequestIds,
        clock_us: Callable[[], int],
    ) -> None:
        self._sessions = sessions
        self._managed = managed
        self._upstreams = upstreams
        self._gate = gate
        self._finisher = finisher
        self._ids = ids
        self._clock_us = clock_us

    def take(self, head: RequestHead, endpoint: Endpoint | None) -> bool:
        """Tell whether a request that wants an upgrade is for a socket that is open here.

        What is known to be no socket is served as the request that it is.
        """
        if endpoint is None:
            return not self._managed and is_websocket(head)
        return endpoint.socket and (endpoint.managed or not self._managed) and is_websocket(head)

    async def carry(
        self, exchange: Exchange, endpoint: Endpoint | None, visit: Visit
    ) -> tuple[str, Measurement | None]:
        """Carry a socket to its end; return the model asked for, and what was used.

        Errors: what the client is to be told before the handshake.
        """
        head = exchange.head
        model = model_asked(
            head.query, strict=self._managed, needed=endpoint is not RESPONSES_SOCKET
        )
        if model:
            self._gate.admit(visit.key, model)
        upstream = self._upstreams.choose(model)
        call = Call(
            id=visit.id,
            request_id=visit.request_id,
            opened_at_us=visit.opened_at_us,
            key=visit.key,
            key_digest=None if visit.key is not None else visit.key_digest,
            key_prefix=visit.key_prefix,
            endpoint=endpoint,
            upstream=upstream,
            model=model,
            head=self._upward(upstream, head, visit.query, model, metered=endpoint is not None),
            body=b"",
            body_bytes=0,
            managed=self._managed,
            attempt=visit.attempt,
            welcome=visit.welcome,
        )
        if call.has_turns:
            turns = TurnSession(self._sessions.means, call, self._rules(visit, upstream))
            return model, await self._sessions.carry(exchange, call, turns)
        if endpoint is None:
            unmetered = UnmeteredSession(self._sessions.means, call)
            return model, await self._sessions.carry(exchange, call, unmetered)
        guard: Guard = Unguarded()
        if self._managed:
            guard = SessionGuard(lambda name: self._gate.admit(visit.key, name))
        session = AppendingSession(self._sessions.means, call, guard, visit.key_now)
        measurement = await self._sessions.carry(exchange, call, session)
        if measurement is not None:
            self._gate.note(model, measurement)
        return model, measurement

    def _rules(self, visit: Visit, upstream: Upstream) -> TurnRules:
        """Return what holds for the turns of a socket to an upstream."""

        def admit(key: ApiKey | None, facts: RequestFacts) -> None:
            model = facts.model
            self._gate.admit(key, model)
            self._gate.admit_others(key, facts)
            if self._upstreams.choose(model) is not upstream:
                raise BadRequestError(
                    f"The model {model[:100]!r} is at another upstream than this socket. Open one "
                    "for it, with ?model=… in its URL.",
                    param="model",
                )

        return TurnRules(
            key=visit.key_now,
            admit=admit,
            note=self._gate.note,
            finisher=self._finisher,
            ids=self._ids,
            clock_us=self._clock_us,
        )

    def _upward(
        self, upstream: Upstream, head: RequestHead, query: str, model: str, *, metered: bool
    ) -> bytes:
        target = upstream.target(head.path, query, model)
        host = (b"Host", upstream.pool.origin.authority)
        headers = handshake_upward(head, credentials=upstream.credentials, metered=metered)
        lines = b"".join([b"%b: %b\r\n" % pair for pair in (host, *headers)])
        return f"GET {target} HTTP/1.1\r\n".encode("latin-1") + lines + b"\r\n"
