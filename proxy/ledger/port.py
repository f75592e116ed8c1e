"""What the rest of the program may ask of a ledger; values in, values out, no SQL."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.core.series import SeriesSum as SeriesSum
from proxy.core.subscriptions import ApiKey, Customer, Segment, Subscription
from proxy.core.usage import Measurement


@dataclass(slots=True, kw_only=True)
class OpenCall:
    """A request that asks to be admitted. Times are microseconds of Unix time, UTC.

    Exactly one of ``key`` (a known key) and ``key_digest`` (passthrough, not yet seen to
    work; its subscription is made when it settles with a 2xx answer) is set.
    """

    id: int
    opened_at_us: int
    key: ApiKey | None
    key_digest: bytes | None
    key_prefix: str
    endpoint: str
    model: str
    stream: bool
    body_bytes: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The request is in the ledger, durably, and may go upstream."""

    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The request may not go upstream; nothing of it is kept.

    ``status`` and ``code`` are OpenAI's (``429``, ``insufficient_quota``); ``message`` says what
    happened and what to do.
    """

    status: int
    code: str
    message: str
    retry_after_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Settlement:
    """How a request ended. A second settlement of the same request changes nothing.

    ``upstream_status`` is None where no answer came. ``context_class`` is ``""`` or
    ``"above_272000"`` (the class of the price book at settlement). ``quantities`` of the
    measurement become usage events with ids ``{request id}.{n}``; event ``.0`` is the request
    itself (metric ``requests``, type: its final state, quantity 1).
    """

    request_id: int
    opened_at_us: int
    settled_at_us: int
    key: ApiKey | None
    key_digest: bytes | None
    key_prefix: str
    model_requested: str
    model: str
    service_tier: str
    context_class: str
    upstream_status: int | None
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A subscription's usage over consecutive windows, and what is still running."""

    subscription: Subscription
    sums: Sequence[SeriesSum]
    open: int
    deferred: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key as operators see it: everything but the secret."""

    id: int
    prefix: str
    name: str | None
    customer: str
    subscription: str
    plan: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedBook:
    """The price book in force: ``pricing.toml``'s text as adopted, and when."""

    sequence: int
    text: str
    sha256: str
    adopted_at: datetime


class Ledger(Protocol):
    """The record. Every write is durable (fsynced) when its awaitable is done.

    Errors: :class:`proxy.errors.LedgerUnavailableError` when a write can't be made durable;
    :class:`proxy.errors.NotFoundError` and :class:`proxy.errors.ConflictError` for operators.
    """

    def open(self, call: OpenCall) -> Awaitable[Admission | Refusal]:
        """Admit a request: decide, reserve and insert in one transaction."""

    def settle(self, settlement: Settlement) -> Awaitable[bool]:
        """Record how a request ended; False if it had been settled before."""

    async def recover(self) -> int:
        """Abandon what workers that died left open, nobody else's; return how many that were."""

    async def key(self, digest: bytes) -> ApiKey | None:
        """Look a key up by its digest; revoked ones come back with ``revoked`` set."""

    async def configuration_sequence(self) -> int:
        """A number that grows with every change of keys, subscriptions and prices."""

    async def make_customer(self, external_id: str, **attributes: str | None) -> Customer:
        """Make or return a customer (``name``, ``email``, ``currency``, ``timezone``)."""

    async def make_subscription(
        self, external_id: str, *, customer: str, plan: str, started_at: datetime
    ) -> Subscription:
        """Make or return a subscription, and its first segment."""

    async def change_plan(self, subscription: str, *, plan: str) -> Subscription:
        """End a subscription's segment now and start the next on another plan."""

    async def make_key(
        self, *, digest: bytes, prefix: str, name: str | None, subscription: str
    ) -> KeyRecord:
        """Store a key's digest for a subscription."""

    async def revoke_key(self, prefix_or_id: str) -> KeyRecord:
        """Revoke the one key that this prefix or id names."""

    async def keys(self) -> Sequence[KeyRecord]:
        """All keys, newest first."""

    async def customers(self) -> Sequence[Customer]:
        """All customers by external id."""

    async def subscriptions(self) -> Sequence[Subscription]:
        """All subscriptions by external id."""

    async def subscription(self, external_id: str) -> Subscription | None:
        """One subscription by its external id."""

    async def segments(self, subscription_id: int) -> Sequence[Segment]:
        """A subscription's segments in order."""

    async def standing(self, external_id: str, windows: Sequence[datetime]) -> Standing | None:
        """Sum a subscription's series between each two neighbours of ``windows``.

        The bounds must be on quarter hours; the work is bounded by days and edges, not by the
        number of events.
        """

    async def adopt_book(self, text: str, sha256: str) -> AdoptedBook:
        """Put a price book in force for every worker (nothing changes if it already is)."""

    async def book(self) -> AdoptedBook | None:
        """Return the price book in force."""

    async def close(self) -> None:
        """Finish what is queued and let go of every file."""
