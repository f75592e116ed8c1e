"""Who is limited: subscriptions and keys, by their plan and by what operators set.

The functions run in a connection's thread.
"""

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from proxy.core.book import PriceBook
from proxy.core.limits import Caps
from proxy.core.plans import RATES, SPENDS, BillingTime, Limits
from proxy.core.reservations import Reserver
from proxy.core.times import from_us
from proxy.errors import PricingError
from proxy.ledger.rows import read_book

_LOG = logging.getLogger(__name__)
_REMEMBERED = 20_000
_FIELDS = tuple(field.name for field in fields(Limits))

_SUBSCRIPTION = (
    "SELECT s.external_id, s.started_at_us, c.timezone, l.overrides,"
    " EXISTS (SELECT 1 FROM limit_states WHERE owner = 2 * s.id)"
    " FROM subscriptions AS s JOIN customers AS c ON c.id = s.customer_id"
    " LEFT JOIN limits AS l ON l.owner = 2 * s.id WHERE s.id = ?"
)
_PLANS = "SELECT starts_at_us, plan FROM segments WHERE subscription_id = ? ORDER BY 1 DESC"
_KEY = (
    "SELECT k.prefix, l.overrides, EXISTS (SELECT 1 FROM limit_states WHERE owner = 2 * k.id + 1)"
    " FROM api_keys AS k LEFT JOIN limits AS l ON l.owner = 2 * k.id + 1 WHERE k.id = ?"
)


def owner_number(*, subscription_id: int = 0, key_id: int | None = None) -> int:
    """Return the number of a key, or of a subscription."""
    return 2 * subscription_id if key_id is None else 2 * key_id + 1


@dataclass(slots=True, kw_only=True, eq=False)
class LimitedOwner:
    """A subscription (``key_id`` None) or key, its limits, and what its windows depend on.

    ``basis`` changes when what was spent must be reckoned anew. ``plans`` are those that it was
    ever on, newest first, each with its beginning.
    """

    number: int
    subscription_id: int
    key_id: int | None
    whose: str
    caps: Caps
    plans: tuple[tuple[int, str], ...]
    timezone: str
    anchor: datetime | None
    basis: str
    tells: bool
    """Whether its clients are told anything in headers."""

    @property
    def plan(self) -> str:
        """The plan that was last put in force: by it they are limited."""
        return self.plans[0][1]


LimitedOwners = tuple[LimitedOwner, ...]
"""Who of a request's subscription and key is limited."""


class LedgerBook:
    """The price book in force, as the ledger has it; parsed when it is first needed.

    ``sequence`` is the number of the one that is known.
    """

    def __init__(self) -> None:
        self._seen = self.sequence = -1
        self.book = PriceBook()
        self.reserver = Reserver(self.book)
        self.limits_anyone = False

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Take over the book in force if it is another one."""
        (sequence,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM books").fetchone()
        if sequence != self._seen:
            self._take_over(_parsed(connection) if sequence else PriceBook(), sequence)
            self._seen = sequence  # not before: where the ledger can't be read, it is read again

    def _take_over(self, book: PriceBook | None, sequence: int) -> None:
        # Adopted by a newer version of this program, say: what is known stays, its limits, too.
        if book is None:
            return
        self.sequence = sequence
        self.book = book
        self.reserver = Reserver(book)
        self.limits_anyone = any(
            is_limit(limits)
            for plan in book.plans.values()
            for limits in (plan.limits, plan.key_limits)
        )


class Owners:
    """Who is limited as of one configuration; looked up when first met, then remembered."""

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._known: dict[tuple[int | None, int], LimitedOwners] = {}
        self.anyone = False

    def forget(self) -> None:
        """Forget everyone."""
        self._known.clear()

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Forget everyone, and look whether there is any limit at all."""
        self.forget()
        self._book.refresh(connection)
        (there,) = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM limits) OR EXISTS (SELECT 1 FROM limit_states)"
        ).fetchone()
        self.anyone = self._book.limits_anyone or bool(there)

    def of(
        self, connection: sqlite3.Connection, key_id: int | None, subscription_id: int
    ) -> LimitedOwners:
        """Return the key and the subscription of a request, as far as they are limited."""
        found = self._known.get((key_id, subscription_id))
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = read_owners(connection, self._book, (key_id, subscription_id))
            self._known[key_id, subscription_id] = found
        return found


def read_owners(
    connection: sqlite3.Connection,
    book: LedgerBook,
    ids: tuple[int | None, int],
) -> LimitedOwners:
    """Read a key (its id, or None) and a subscription; leave out who has no limit and no state.

    They are limited by the plan that was last put in force, not by that of any moment: what is
    remembered of them decides upon requests from before a change of plan and after it. What those
    reserve goes by the plan of their own moment, as what they cost does.
    """
    key_id, subscription_id = ids
    row = connection.execute(_SUBSCRIPTION, (subscription_id,)).fetchone()
    if row is None:
        return ()
    external_id, started_at_us, timezone, overrides, stands = row
    plans = tuple(connection.execute(_PLANS, (subscription_id,)).fetchall())
    _, plan_code = plans[0]
    plan = book.book.plan(plan_code)
    anchor = from_us(started_at_us) if plan.billing_time is BillingTime.ANNIVERSARY else None

    def owner(number: int, key: int | None, whose: str, limits: Limits) -> LimitedOwner:
        return LimitedOwner(
            number=number,
            subscription_id=subscription_id,
            key_id=key,
            whose=whose,
            caps=Caps.of(limits),
            plans=plans,
            tells=bool(
                limits.requests_per_minute or limits.tokens_per_minute or limits.soft_thresholds
            ),
            timezone=timezone,
            anchor=anchor,
            basis=f"{book.sequence} {timezone} {'' if anchor is None else started_at_us}",
        )

    owners = []
    limits = merged(plan.limits, overrides)
    if stands or is_limit(limits):
        number = owner_number(subscription_id=subscription_id)
        owners.append(owner(number, None, f"Subscription {external_id}", limits))
    row = key_id and connection.execute(_KEY, (key_id,)).fetchone()
    if row:
        prefix, overrides, stands = row
        limits = merged(plan.key_limits, overrides)
        if stands or is_limit(limits):
            owners.append(owner(owner_number(key_id=key_id), key_id, f"Key {prefix}…", limits))
    return tuple(owners)


def is_limit(limits: Limits) -> bool:
    """Whether anything is limited; soft thresholds alone limit nothing."""
    return any(getattr(limits, name) is not None for name in (*SPENDS, *RATES))


def merged(limits: Limits, overrides: str | None) -> Limits:
    """Return a plan's limits with what an operator set over them."""
    return replace(limits, **read_overrides(overrides)) if overrides else limits


def read_overrides(text: str) -> dict[str, Any]:
    """Read what an operator set; null is None: without limit."""
    values: dict[str, Any] = msgspec.json.decode(text)
    for name in SPENDS:
        if values.get(name) is not None:
            values[name] = Decimal(values[name])
    if "soft_thresholds" in values:
        values["soft_thresholds"] = tuple(Decimal(part) for part in values["soft_thresholds"])
    return {name: value for name, value in values.items() if name in _FIELDS}


def write_overrides(values: Mapping[str, Any]) -> str:
    """Write what an operator set, so that :func:`read_overrides` reads it."""
    return msgspec.json.encode(values).decode()


def _parsed(connection: sqlite3.Connection) -> PriceBook | None:
    from proxy.pricing import parse_adopted  # noqa: PLC0415 - only who has limits needs it here

    adopted = read_book(connection)
    try:
        if adopted is None:
            return PriceBook()
        return parse_adopted(adopted.text, adopted.reading)
    except PricingError as error:
        _LOG.error("the price book in force can't be read: %s", error.message)
        return None
