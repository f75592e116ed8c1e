"""Budgets and rate limits within a transaction: admission takes from them, settlement books.

Each owner's state is decided upon by :mod:`proxy.core.limits`, and kept once a transaction, before
the commit; it is read again where another connection has committed since. All that runs under the
ledger's write lock, so it holds over all workers.
"""

import sqlite3
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import NamedTuple

from proxy.clock import now_us
from proxy.core import limits
from proxy.core.allowances import Allowance, allowance, tighter
from proxy.core.limits import Held, LimitState, Need, Refused
from proxy.core.limits_together import Ended
from proxy.core.money import EXACT, ZERO
from proxy.core.reservations import (
    MODEL_NOT_NAMED,
    Bounds,
    expected_tokens,
    nearest_names,
    not_named,
)
from proxy.core.times import SECOND_US, in_force
from proxy.core.usage import RequestState
from proxy.ledger import statements
from proxy.ledger.limit_accounts import Account, Accounts, Together
from proxy.ledger.limit_owners import LedgerBook, LimitedOwners, Owners
from proxy.ledger.limit_prices import SeriesPrices
from proxy.ledger.port import ADMITTED, Admission, OpenCall, Refusal, Settlement
from proxy.ledger.slots import QUARTER_US

_ROWS = "SELECT id, state, reserved, reserved_tokens, subscription_id IS NOT NULL FROM requests"
_REMEMBERED = 100_000
_add = EXACT.add
_fma = EXACT.fma
_FIRST = itemgetter(0)
# Members of enumerations are slow to look up, and this is on every limited request.
_DEFERRED = RequestState.DEFERRED

EventRow = tuple[int, int, int, int, int, int]
"""subscription, request, n, series, time in µs, quantity"""

CHANGED = Refusal(
    status=429,
    code=limits.RATE,
    message="The limits of this key have just changed: try again.",
    retry_after_s=0.25,
    limits_changed=True,
)
"""A request comes without bounds, from a worker that does not know yet that it is limited."""


Endings = dict[LimitedOwners, list[tuple[Settlement, Sequence[EventRow]]]]
"""Settlements of limited owners, each with its events that are new."""


class _Row(NamedTuple):
    """A request as it was before its settlement; ``counted``: it ran as its subscription's."""

    state: str
    reserved: str | None
    reserved_tokens: int | None
    counted: bool


class Limiting:
    """The limits' side of a transaction; ``anyone`` tells whether there is any limit at all.

    Budgets are those of the moment at which a request was accepted. Rates go by ``clock``, read
    under the write lock: bodies come slowly, so requests are decided upon in another order.
    """

    def __init__(self, book: LedgerBook, clock: Callable[[], int] = now_us) -> None:
        self.anyone = False
        self._clock = clock
        self._now_us = 0
        self._book = book
        self._prices = SeriesPrices(self._book)
        self._owners = Owners(self._book)
        self._accounts = Accounts(self._book)
        self._rows: dict[int, _Row] = {}
        self._held: dict[int, Held] = {}
        self.reserved: dict[int, Held] = {}
        """What this transaction's openings hold, by request."""

    def forget(self) -> None:
        """Forget what was done in a transaction that is rolled back, and who is limited."""
        self._owners.forget()
        self._accounts.forget()
        self._prices.forget()
        self._held.clear()
        self.reserved.clear()

    def forget_states(self) -> None:
        """Read kept states anew: a change may have written them."""
        self._accounts.forget_states()

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Take note of the configuration as it is now; what was booked before is kept first."""
        self._accounts.drop_unsettled()
        self.finish(connection)
        self._accounts.forget_states()
        self._prices.forget()
        self._owners.refresh(connection)
        self.anyone = self._owners.anyone

    def owners(
        self, connection: sqlite3.Connection, key_id: int | None, subscription_id: int
    ) -> LimitedOwners:
        """Return who of a request's key and subscription is limited."""
        return self._owners.of(connection, key_id, subscription_id)

    def finish(self, connection: sqlite3.Connection) -> None:
        """Keep what changed; call it before the commit."""
        if len(self._held) >= _REMEMBERED:
            self._held.clear()
        self._held.update(self.reserved)
        self.reserved.clear()
        self._rows.clear()
        self._accounts.finish(connection)

    def committed(self) -> None:
        """Say which thresholds were crossed, now that it is a fact."""
        self._accounts.committed()

    # Admission.

    def decide(
        self, connection: sqlite3.Connection, calls: Sequence[OpenCall]
    ) -> list[Admission | Refusal]:
        """Admit each call that its owners' limits have room for.

        What fits for sure is admitted together, owner by owner; then come the others, one by one
        in their order.
        """
        groups: dict[LimitedOwners, list[tuple[int, OpenCall]]] = {}
        for place, call in enumerate(calls):
            key = call.key
            if key is not None:
                owners = self._owners.of(connection, key.id, key.subscription_id)
                if owners:
                    groups.setdefault(owners, []).append((place, call))
        outcomes: list[Admission | Refusal] = [ADMITTED] * len(calls)
        self._accounts.mark()
        if groups:
            self._now_us = self._clock()
            latest = {
                owners: max([call.opened_at_us for _, call in group])
                for owners, group in groups.items()
            }
            self._accounts.load(connection, latest)
        apart: list[tuple[int, OpenCall, LimitedOwners]] = []
        for owners, group in groups.items():
            if not self._admit_together(owners, [call for _, call in group]):
                apart += [(place, call, owners) for place, call in group]
            elif self._accounts.of(owners).tells:
                told = Admission(self._told(owners))
                for place, _ in group:
                    outcomes[place] = told
        for place, call, owners in sorted(apart, key=_FIRST):
            outcomes[place] = self._decide_one(connection, call, owners)
        return outcomes

    def undo(self) -> None:
        """Take back what was decided: nothing of it was inserted."""
        self._accounts.undo()
        self.reserved.clear()

    def _admit_together(self, owners: LimitedOwners, calls: Sequence[OpenCall]) -> bool:
        """Admit calls that fit together for sure, whichever comes first; else none of them."""
        together = self._accounts.of(owners)
        earliest_us = min([call.opened_at_us for call in calls])
        since_us, plan = together.plans[0]
        if together.each or earliest_us < since_us:
            return False
        reserve = self._book.reserver.reserve if together.limits_money else None
        amount: Decimal | None = None
        whole = ZERO
        held: dict[int, Held] = {}
        for call in calls:
            bounds, at_us = call.bounds, call.opened_at_us
            if bounds is None:
                return False
            if reserve is not None:
                amount = reserve(plan, bounds, at_us)
                if amount is None:
                    return False
                whole = _add(whole, amount)
            held[call.id] = Held(at_us, amount, 0, True)  # noqa: FBT003 - by place: on the hot path
        if not together.take(whole, len(calls), earliest_us):
            return False
        self.reserved |= held
        return True

    def _decide_one(
        self, connection: sqlite3.Connection, call: OpenCall, owners: LimitedOwners
    ) -> Admission | Refusal:
        bounds = call.bounds
        if bounds is None:
            return CHANGED
        amount = None
        at_us = call.opened_at_us
        together = self._accounts.of(owners)
        if together.limits_money:
            # Not the last plan: a slow body may have come before it, and costs by the one before.
            plan = in_force(together.plans, at_us)
            amount = self._book.reserver.reserve(plan, bounds, at_us)
            if amount is None:
                return self._unpriced(call, bounds, plan)
        tokens = expected_tokens(bounds) if together.counts_tokens else 0
        refused = self._take(connection, together.accounts, Need(amount or ZERO, tokens), at_us)
        if refused is not None:
            return _refusal(refused, self._told(owners))
        self.reserved[call.id] = Held(at_us, amount, tokens, running=True)
        return Admission(self._told(owners)) if together.tells else ADMITTED

    def _take(
        self, connection: sqlite3.Connection, accounts: Sequence[Account], need: Need, at_us: int
    ) -> Refused | None:
        """Admit by each owner's limits, or by none."""
        states: list[LimitState] = []
        for account in accounts:
            owner = account.owner
            if owner.caps.rated:
                account.state = limits.on_clock(account.state, self._now_us)
            state = self._accounts.as_of(connection, account, at_us)
            decided = limits.admit(state, owner.caps, need, self._now_us, owner.whose)
            if isinstance(decided, Refused):
                return decided
            states.append(decided)
        for account, decided in zip(accounts, states, strict=True):
            account.admit(decided)
        return None

    def _unpriced(self, call: OpenCall, bounds: Bounds, plan: str) -> Refusal:
        other = self._book.reserver.unpriced(plan, bounds, call.opened_at_us)
        if other is not None and not other.model:
            message = not_named(other.member, "this key has a budget")
            return Refusal(status=400, code=MODEL_NOT_NAMED, message=message)
        model = call.model if other is None else other.model
        message = f"The model {model!r} has no price, and this key has a budget"
        if not model:
            message = "The request names no model that has a price, and this key has a budget"
        near = nearest_names(self._book.book, model)
        message += f". Ask for one that has{near}, or have the operator add its price."
        return Refusal(status=400, code="model_not_priced", message=message)

    def _told(self, owners: LimitedOwners) -> Allowance | None:
        told: Allowance | None = None
        for owner in owners:
            if owner.tells:
                account = self._accounts.by_owner[owner.number]
                own = allowance(account.state, owner.caps, self._now_us)
                told = own if told is None else tighter(told, own)
        return told

    # Settlement.

    def prepare(self, connection: sqlite3.Connection, endings: Endings) -> None:
        """Read states and rows before the settlements are written."""
        latest = {
            owners: max([settlement.opened_at_us for settlement, _ in ended])
            for owners, ended in endings.items()
        }
        self._accounts.load(connection, latest)
        ids = [
            settlement.request_id
            for ended in endings.values()
            for settlement, _ in ended
            if settlement.request_id not in self._held
        ]
        if ids:
            size = 1 << (len(ids) - 1).bit_length()
            marks = ",".join("?" * size)
            values = (*ids, *(None,) * (size - len(ids)))
            found = connection.execute(f"{_ROWS} WHERE id IN ({marks})", values)
            self._rows = {row[0]: _Row(*row[1:]) for row in found}

    def remembers(self, request_id: int) -> bool:
        """Say whether what a request holds is known from its opening here, not from its row."""
        return request_id in self._held

    def count_in(self, request_id: int, owners: LimitedOwners) -> None:
        """Count a request as these owners', which was nobody's when it opened, while it runs.

        Its end may come in the same transaction, and takes off what is counted here.
        """
        row = self._rows.get(request_id)
        if row is None or row.state != "open":
            return
        self._rows[request_id] = row._replace(counted=True)
        for owner in owners:
            account = self._accounts.by_owner[owner.number]
            account.state = limits.count_in(account.state)

    def book(self, connection: sqlite3.Connection, endings: Endings) -> None:
        """Book what was settled."""
        of_keys: dict[tuple[int, int, int], int] = {}
        pooled: dict[Account, None] = {}
        for owners, ended in endings.items():
            together = self._accounts.of(owners)
            ends, depends = self._ends(connection, together, ended)
            for account in together.accounts:
                account.settle(ends)
                if depends and account.state.spends:
                    pooled[account] = None
            for key_id in together.sums_kept:
                for _, events in ended:
                    for _, _, _, series_id, at_us, quantity in events:
                        slot = key_id, series_id, at_us // QUARTER_US
                        of_keys[slot] = of_keys.get(slot, 0) + quantity
        if of_keys:
            rows = [(*slot, quantity) for slot, quantity in of_keys.items()]
            statements.ADD_TO_KEY_QUARTERS.run(connection, rows)
        for account in pooled:
            self._accounts.rate_again(connection, account)

    def _ends(
        self,
        connection: sqlite3.Connection,
        together: Together,
        ended: Sequence[tuple[Settlement, Sequence[EventRow]]],
    ) -> tuple[list[Ended], bool]:
        """Return what was held, cost and used; and whether any cost depends on all its pool."""
        ends: list[Ended] = []
        counts_money, counts_tokens = together.counts_money, together.counts_tokens
        depends = False
        for settlement, events in ended:
            if settlement.appended_from:
                # It runs on, and holds what it holds: only the usage is booked.
                held: Held | None = Held(settlement.opened_at_us, None, 0, running=False)
            else:
                held = self._held.pop(settlement.request_id, None) or self._row_held(settlement)
            if held is None:
                continue
            measurement = settlement.measurement
            if measurement.state is _DEFERRED:
                for account in together.accounts:
                    account.defer(held)
                continue
            cost = ZERO
            if counts_money:
                cost, pooled = self._cost(connection, events)
                depends = depends or pooled
            ends.append((held, cost, measurement.usage.tokens if counts_tokens else 0))
        return ends, depends

    def _row_held(self, settlement: Settlement) -> Held | None:
        """Return what a request holds that was not opened here, as its row says.

        What was opened here is remembered as it was opened: had others settled or deferred it,
        this settlement would have failed.
        """
        row = self._rows.get(settlement.request_id)
        if row is None:
            return None
        amount = None if row.reserved is None else Decimal(row.reserved)
        running = row.counted and row.state == "open"
        return Held(settlement.opened_at_us, amount, row.reserved_tokens or 0, running)

    def _cost(
        self, connection: sqlite3.Connection, events: Sequence[EventRow]
    ) -> tuple[Decimal, bool]:
        """Price events by the book in force; pooled ones depend on all others of the window."""
        cost, pooled = ZERO, False
        if not events:
            return cost, pooled
        moment_us = events[0][4]
        known = self._prices.known(moment_us).get
        for event in events:  # taken apart by position: series at 3, quantity at 5
            price = known(event[3])
            if price is None:
                price = self._prices.find(connection, event[3], moment_us)
                pooled = pooled or price is None
            if price:
                cost = _fma(price, event[5], cost)
        return cost, pooled


def _refusal(refused: Refused, told: Allowance | None) -> Refusal:
    wait_us = refused.retry_after_us
    return Refusal(
        status=429,
        code=refused.code,
        message=refused.message,
        retry_after_s=None if wait_us is None else wait_us / SECOND_US,
        allowance=told,
    )
