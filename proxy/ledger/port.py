"""What the rest of the program may ask of a ledger; values in, values out, no SQL."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec

from proxy.core.allowances import Allowance
from proxy.core.book import READING
from proxy.core.budgets import LimitStanding
from proxy.core.rating import PricedRequest
from proxy.core.reservations import Bounds
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import ApiKey, Customer, Segment, Subscription
from proxy.core.usage import Measurement
from proxy.ledger.periods import Activity, ClosedPeriod, Closing, LateSum, PeriodSums


class OpenCall(msgspec.Struct, kw_only=True):
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
    bounds: Bounds | None = None
    """What it can use at most; needed where its key or subscription is limited."""


class Admission(msgspec.Struct, frozen=True):
    """The request is in the ledger, durably, and may go upstream.

    ``allowance`` is what its client may be told of its limits, if there is anything to tell.
    """

    allowance: Allowance | None = None


ADMITTED = Admission()
"""There is nothing to tell: nearly all admissions are this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The request may not go upstream; nothing of it is kept.

    ``status`` and ``code`` are OpenAI's (``429``, ``insufficient_quota``); ``message`` says what
    happened and what to do. ``retry_after_s`` is None where asking again is no use.
    ``limits_changed``: ask at once again, with the bounds that the request came without.
    """

    status: int
    code: str
    message: str
    retry_after_s: float | None = None
    allowance: Allowance | None = None
    limits_changed: bool = False


APPENDED_FROM = 1_000_000
"""Events of a running request are numbered from here on, those of its settlement from 0."""


class DeferredObject(msgspec.Struct, frozen=True):
    """An object of an upstream's that a request made: its usage is billed once, by these two."""

    upstream: str
    id: str


class Settlement(msgspec.Struct, kw_only=True):
    """How a request ended. A second settlement of the same request changes nothing.

    ``upstream_status`` is None where no answer came. ``context_class`` is ``""`` or
    ``"above_272000"`` (the class of the price book at settlement). ``quantities`` of the
    measurement become usage events with ids ``{request id}.{n}``; event ``.0`` is the request
    itself (metric ``requests``, type: its final state, quantity 1). ``object`` is what the request
    made at the upstream, where that outlives it: whose it is, is kept with the settlement.
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
    object: DeferredObject | None = None
    appended_from: int = 0
    """0: it ends its request. Otherwise it is some of its usage (:meth:`Ledger.append`), and this
    the number of its first event."""


class DeferredRequest(msgspec.Struct, frozen=True):
    """A request that made an object at an upstream, named ``object_id`` there.

    ``waits``: its usage is not known yet. ``key_digest`` names its key; None, and the members of
    the request empty, where the request was pruned since.
    """

    request_id: int
    upstream: str
    object_id: str
    subscription_id: int
    endpoint: str
    opened_at_us: int
    key_digest: bytes | None
    key_prefix: str
    model_requested: str
    body_bytes: int
    waits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A subscription's usage over consecutive windows, and what is still running."""

    subscription: Subscription
    sums: Sequence[SeriesSum]
    open: int
    deferred: int
    late: Sequence[LateSum] = ()
    """What came late for closed periods, and waits to be billed."""
    closed_through: datetime | None = None
    """The end of the subscription's last closed period."""


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
    """The price book in force: ``pricing.toml``'s text as adopted, when, and how it is read."""

    sequence: int
    text: str
    sha256: str
    adopted_at: datetime
    reading: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """A usage event as it is kept; its transaction id is ``{request id}.{n}``."""

    n: int
    metric: str
    type: str
    quantity: int
    model: str
    service_tier: str
    context_class: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """All that the ledger knows of a request; what it does not know is None, or ``""``.

    ``raw_usage`` is the usage as the provider sent it (bounded).
    """

    id: int
    state: str
    opened_at: datetime
    settled_at: datetime | None
    key_prefix: str
    customer: str
    subscription: str
    plan: str
    endpoint: str
    stream: bool
    attempt: int
    body_bytes: int
    model_requested: str
    model: str
    service_tier: str
    context_class: str
    upstream_status: int | None
    reasoning_tokens: int | None
    notes: tuple[str, ...]
    raw_usage: bytes
    events: Sequence[EventRecord]
    object: DeferredObject | None = None
    """What it made at the upstream, if that outlives it."""


class Ledger(Protocol):
    """The record. Every write is durable (fsynced) when its awaitable is done.

    Errors: :class:`proxy.errors.LedgerUnavailableError` when a write can't be made durable;
    :class:`proxy.errors.NotFoundError` and :class:`proxy.errors.ConflictError` for operators.
    """

    def open(self, call: OpenCall) -> Awaitable[Admission | Refusal]:
        """Admit a request: decide, reserve and insert in one transaction."""

    def settle(self, settlement: Settlement) -> asyncio.Future[bool]:
        """Record how a request ended; False if it had been settled before."""

    def append(self, part: Settlement) -> asyncio.Future[bool]:
        """Record usage of a request while it runs (``part.appended_from`` numbers its events).

        The request stays open. A second append of the same events changes nothing, nor does one
        after the settlement but for events that are new.
        """

    async def recover(self) -> int:
        """Abandon what workers that died left open, nobody else's; return how many that were."""

    async def deferred(self, object_id: str) -> Sequence[DeferredRequest]:
        """Return who made an upstream's object of this id: one request for each upstream."""

    async def waiting(self, *, after: int = 0, limit: int = 500) -> Sequence[DeferredRequest]:
        """Return the next requests whose usage comes later, by request id."""

    async def prune_unowned(self, before_us: int) -> int:
        """Delete requests that failed before then with keys that never worked; return how many."""

    async def key(self, digest: bytes) -> ApiKey | None:
        """Look a key up by its digest; revoked ones come back with ``revoked`` set."""

    async def check_writable(self) -> None:
        """Find out whether requests can be metered now.

        Errors: LedgerUnavailableError where the last write failed and another one still does.
        """

    async def configuration_sequence(self) -> int:
        """A number that grows with every change of keys, subscriptions and prices."""

    async def make_customer(self, external_id: str, **attributes: str | None) -> Customer:
        """Make a customer (``name``, ``email``, ``currency``, ``timezone``), or return it.

        Errors: ConflictError where it is there and an attribute that is given is different.
        """

    async def change_customer(self, external_id: str, **attributes: str | None) -> Customer:
        """Change the attributes that are given; an empty name or email takes it away.

        Errors: NotFoundError; ConflictError for another timezone once a period is closed.
        """

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

    async def request(self, request_id: int) -> RequestRecord | None:
        """Return all that is known of one request."""

    async def adopt_book(self, text: str, sha256: str, *, reading: int = READING) -> AdoptedBook:
        """Put a price book in force for every worker (nothing changes if it already is)."""

    async def book(self, sequence: int | None = None) -> AdoptedBook | None:
        """Return the price book in force, or the one that was adopted with a sequence number."""

    async def used_plans(self) -> Sequence[str]:
        """Return the plans that anything was used on; what failed used nothing."""

    async def priced_request(self, request_id: int) -> Sequence[PricedRequest]:
        """Return what rating needs to know of a request: one for each place its events are in."""

    async def leads(self) -> bool:
        """Tell whether this worker is the one that does what only one may; it stays so."""

    async def period_sums(self, external_id: str, windows: Sequence[datetime]) -> PeriodSums | None:
        """Return what an invoice of the windows is made from; None: no such subscription."""

    async def late_within(
        self, subscription_id: int, start: datetime, end: datetime
    ) -> Sequence[LateSum]:
        """Return what came late for ``[start, end)``, billed or not, in the order it came."""

    async def late_of(self, request_id: int) -> int | None:
        """Return the id of the late sum that a request's usage is in; None: it came in time."""

    async def close_period(self, closing: Closing) -> ClosedPeriod:
        """Close a period, once; ConflictError if it is no longer what the invoice says."""

    async def closed_periods(self, external_id: str | None = None) -> Sequence[ClosedPeriod]:
        """Return the closed periods of one subscription, or all, in the order of their numbers."""

    async def closed_period(self, external_id: str, at: datetime) -> ClosedPeriod | None:
        """Return the first closed period of a subscription that ends after a moment."""

    async def activity(self, *, after: str = "", limit: int = 200) -> Sequence[Activity]:
        """Return where the next subscriptions by external id stand, for closing."""

    async def activity_of(self, external_id: str) -> Activity | None:
        """Return where one subscription stands, for closing; None: no such subscription."""

    async def set_limits(
        self,
        values: Mapping[str, Any],
        *,
        subscription: str | None = None,
        key: str | None = None,
    ) -> None:
        """Set limits of a subscription, or of the key that a prefix or id names, over its plan's.

        ``values`` are fields of :class:`proxy.core.plans.Limits`; None is without limit.
        """

    async def clear_limits(
        self, *, subscription: str | None = None, key: str | None = None
    ) -> bool:
        """Forget what was set: the plan's limits hold. False if nothing was set."""

    async def limits(
        self, subscription: str, *, key_id: int | None = None
    ) -> Sequence[LimitStanding]:
        """Return where a subscription and its keys (or the one) stand, as far as limited."""

    async def limited(self) -> Sequence[str]:
        """Return the subscriptions for which, or for whose keys, operators set limits."""

    async def close(self) -> None:
        """Finish what is queued and let go of every file."""
