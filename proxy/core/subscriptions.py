"""Who is metered: customers, subscriptions, their segments, and the keys that name them."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

KEY_PREFIX_LENGTH = 12
"""How much of a secret is kept in the clear, to recognise a key by."""


NO_SECRET = b""
"""What stands for the key of a client that may come without one."""


def key_digest(secret: bytes) -> bytes:
    """Return the SHA-256 digest of a key's secret: all of it that is ever stored."""
    return hashlib.sha256(secret).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Who is billed; ``timezone`` is an IANA name and bounds the billing periods."""

    id: int
    external_id: str
    name: str | None
    email: str | None
    currency: str
    timezone: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One customer on one plan from a start time (the plan it is on now).

    ``plans`` are all that it was on, each with its beginning, in order: billing periods are drawn
    by them.
    """

    id: int
    external_id: str
    customer: Customer
    plan: str
    started_at: datetime
    ended_at: datetime | None = None
    plans: tuple[tuple[datetime, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A subscription on one plan, from-to: a plan change ends one and starts the next."""

    id: int
    subscription_id: int
    plan: str
    starts_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the hot path needs it: whom it names, and whether it still may."""

    id: int
    prefix: str
    name: str | None
    subscription_id: int
    subscription: str
    plan: str
    revoked: bool = False
    limited: bool = False
    """Whether any budget or rate limit applies: only then does admission read one."""
