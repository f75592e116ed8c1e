"""What a transaction writes: openings, and settlements with their events and sums."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from proxy.clock import now_us
from proxy.core.limits import Held
from proxy.core.usage import Metric, RequestState
from proxy.errors import BadRequestError
from proxy.ledger import appending, statements
from proxy.ledger.deferred import register
from proxy.ledger.identities import Identities, Owner
from proxy.ledger.limit_owners import LedgerBook, LimitedOwners
from proxy.ledger.limiting import Endings, EventRow, Limiting
from proxy.ledger.port import ADMITTED, Admission, OpenCall, Refusal, Settlement
from proxy.ledger.rows import read_sequence
from proxy.ledger.series import Dimensions, SeriesNumbers
from proxy.ledger.slots import QUARTER_US
from proxy.ledger.sums import add_to_sums

RAW_USAGE_BYTES = 4096
LARGEST_QUANTITY = 1 << 53
LAST_USED_STEP_US = 60 * 1_000_000
_REMEMBERED = 20_000
_OK = frozenset({101, *range(200, 300)})
_PLAIN = {state: str(state.value) for state in RequestState}
"""sqlite3 binds plain strings by a short way, and asks around for adapters of any subclass."""
_DEFERRED = RequestState.DEFERRED
_FAILED = _PLAIN[RequestState.FAILED]
_REQUESTS = str(Metric.REQUESTS.value)
_NOTHING = (None, None)


class UnexpectedRowsError(Exception):
    """Not every row of the batch was new: it must be written one by one."""


class Entries:
    """The rows of some settlements."""

    __slots__ = ("appends", "deferring", "events", "limited", "quarters", "requests")

    def __init__(self) -> None:
        self.appends: list[appending.Claim] = []
        self.deferring = False
        self.limited: Endings = {}
        self.requests: list[tuple[object, ...]] = []
        self.events: list[EventRow] = []
        self.quarters: dict[tuple[int, int], int] = {}


class Booking:
    """Writes openings and settlements within the caller's transaction, in the writer's thread."""

    def __init__(self, worker_id: int, clock: Callable[[], int] = now_us) -> None:
        self._worker_id = worker_id
        book = LedgerBook()
        self._identities = Identities(book)
        self._series = SeriesNumbers(book)
        self._last_used: dict[int, int] = {}
        self._limiting = Limiting(book, clock)

    def forget(self) -> None:
        """Forget what was learnt in a transaction that is rolled back."""
        self._identities.forget()
        self._limiting.forget()
        self._series.forget()
        self._last_used.clear()

    def admit(
        self, connection: sqlite3.Connection, calls: Sequence[OpenCall]
    ) -> list[Admission | Refusal]:
        """Decide, and insert the admitted ones."""
        outcomes = self._admit(connection, calls)
        if outcomes is None:
            self._limiting.undo()
            self._refresh(connection)
            outcomes = self._admit(connection, calls)
            if outcomes is None:
                raise UnexpectedRowsError
        self._note_use(connection, calls)
        return outcomes

    def _admit(
        self, connection: sqlite3.Connection, calls: Sequence[OpenCall]
    ) -> list[Admission | Refusal] | None:
        """Decide and insert, by the configuration as it is known; None where it has changed.

        Whoever learnt first that it has changed, an opening or a settlement: each key is looked
        up again, once.
        """
        refused = self._identities.refuse_revoked(connection, calls)
        if refused:
            decided = iter(self._decide(connection, [c for c in calls if c.id not in refused]))
            outcomes = [refused.get(call.id) or next(decided) for call in calls]
        else:
            outcomes = self._decide(connection, calls)
        return outcomes if self._insert(connection, calls, outcomes) else None

    def finish(self, connection: sqlite3.Connection) -> None:
        """Write what is written once a transaction: call it before its commit."""
        if self._limiting.anyone:
            self._limiting.finish(connection)

    def changed(self) -> None:
        """Take note that an operator's or upkeep's change was made on this connection."""
        self._limiting.forget_states()

    def committed(self) -> None:
        """Tell what is now a fact."""
        if self._limiting.anyone:
            self._limiting.committed()

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Learn the configuration anew."""
        self._identities.refresh(connection)
        self._limiting.refresh(connection)
        self._series.refresh()

    def _decide(
        self, connection: sqlite3.Connection, calls: Sequence[OpenCall]
    ) -> list[Admission | Refusal]:
        if self._limiting.anyone:
            return self._limiting.decide(connection, calls)
        return [ADMITTED] * len(calls)

    def _insert(
        self,
        connection: sqlite3.Connection,
        calls: Sequence[OpenCall],
        outcomes: Sequence[Admission | Refusal],
    ) -> bool:
        """Insert the admitted; False, and nothing, where the configuration has changed."""
        rows = [
            self._opening(connection, call)
            for call, outcome in zip(calls, outcomes, strict=True)
            if isinstance(outcome, Admission)
        ]
        if not rows:
            return read_sequence(connection) == self._identities.sequence
        statement = statements.OPEN
        reserved = self._limiting.reserved
        if reserved:
            rows = [(*row, *_reservation(reserved.get(row[0]))) for row in rows]
            statement = statements.OPEN_RESERVING
        before, after = (self._worker_id,), (self._identities.sequence,)
        return statement.run(connection, rows, before=before, after=after) == len(rows)

    def _opening(self, connection: sqlite3.Connection, call: OpenCall) -> tuple[Any, ...]:
        key = call.key
        key_id = subscription_id = segment_id = None
        if key is not None:
            key_id = key.id
            subscription_id = key.subscription_id
            segment_id = self._identities.segment_id(connection, subscription_id, call.opened_at_us)
        return (
            call.id,
            key_id,
            None if key is not None else call.key_digest,
            subscription_id,
            segment_id,
            call.opened_at_us,
            call.endpoint,
            call.model,
            1 if call.stream else 0,
            call.body_bytes,
            call.attempt,
        )

    def _note_use(self, connection: sqlite3.Connection, calls: Sequence[OpenCall]) -> None:
        """Keep the keys' last use, to the minute: a write for every call would cost too much."""
        noted = self._last_used
        for call in calls:
            key = call.key
            if key is None or call.opened_at_us - noted.get(key.id, 0) < LAST_USED_STEP_US:
                continue
            if len(noted) > _REMEMBERED:
                noted.clear()
            noted[key.id] = call.opened_at_us
            connection.execute(
                "UPDATE api_keys SET last_used_at_us = max(coalesce(last_used_at_us, 0), ?)"
                " WHERE id = ?",
                (call.opened_at_us, key.id),
            )

    def book(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> None:
        """Settle requests, none of which is settled: :class:`UnexpectedRowsError` otherwise."""
        entries = self._entries(connection, settlements)
        if entries.deferring and len({each.request_id for each in settlements}) < len(settlements):
            raise UnexpectedRowsError  # deferred and settled at once: one follows from the other
        if not self._settle(connection, entries):
            if read_sequence(connection) == self._identities.sequence:
                raise UnexpectedRowsError
            self._refresh(connection)
            entries = self._entries(connection, settlements)
            if not self._settle(connection, entries):
                raise UnexpectedRowsError
        if statements.INSERT_EVENTS.run(connection, entries.events) != len(entries.events):
            raise UnexpectedRowsError
        add_to_sums(connection, entries.quarters)
        if entries.limited:
            self._limiting.book(connection, entries.limited)

    def book_one(self, connection: sqlite3.Connection, settlement: Settlement) -> bool:
        """Settle a request; False, and nothing, if it had been settled."""
        return self.book_for(connection, settlement, self._owner(connection, settlement))

    def book_for(
        self, connection: sqlite3.Connection, settlement: Settlement, owner: Owner | None
    ) -> bool:
        """Settle a request of this owner; only events that are new move sums."""
        if read_sequence(connection) != self._identities.sequence:
            self._refresh(connection)
        entries = Entries()
        self._enter(connection, settlement, owner, entries)
        if not self._settle(connection, entries):
            return False
        sums: dict[tuple[int, int], int] = {}
        new = [e for e in entries.events if statements.INSERT_EVENTS.run(connection, [e])]
        for event in new:
            slot = event[3], event[4] // QUARTER_US
            sums[slot] = sums.get(slot, 0) + event[5]
        add_to_sums(connection, sums)
        if entries.limited:
            # As entered: of an object that an earlier request made, nothing is deferred.
            limited: Endings = {
                owners: [(entered, new) for entered, _ in ended]
                for owners, ended in entries.limited.items()
            }
            self._limiting.book(connection, limited)
        return True

    def _entries(
        self, connection: sqlite3.Connection, settlements: Sequence[Settlement]
    ) -> Entries:
        entries = Entries()
        for settlement in settlements:
            self._enter(connection, settlement, self._owner(connection, settlement), entries)
        return entries

    def _settle(self, connection: sqlite3.Connection, entries: Entries) -> bool:
        if entries.limited:
            self._limiting.prepare(connection, entries.limited)
        after = (self._identities.sequence,)
        if entries.appends:
            known = read_sequence(connection) == self._identities.sequence
            if not (known and appending.claim(connection, entries.appends, self._limiting)):
                return False
        return statements.SETTLE.run(connection, entries.requests, after=after) == len(
            entries.requests
        )

    def known_owner(self, connection: sqlite3.Connection, digest: bytes) -> Owner | None:
        """Return whom a digest names."""
        return self._identities.owner(connection, digest)

    def _owner(self, connection: sqlite3.Connection, settlement: Settlement) -> Owner | None:
        key = settlement.key
        if key is not None:
            return key.id, key.subscription_id
        digest = settlement.key_digest
        if digest is None:
            return None
        owner = self._identities.owner(connection, digest)
        if owner is None and settlement.upstream_status in _OK:
            owner = self._identities.adopt(
                connection, digest, settlement.key_prefix, settlement.opened_at_us
            )
        return owner

    def _enter(
        self,
        connection: sqlite3.Connection,
        settlement: Settlement,
        owner: Owner | None,
        entries: Entries,
    ) -> None:
        if settlement.object is not None:
            settlement = register(connection, settlement, owner)
            entries.deferring = True
        state = settlement.measurement.state
        key_id = subscription_id = segment_id = None
        if owner is not None:
            key_id, subscription_id = owner
            segment_id = self._identities.segment_id(
                connection, subscription_id, settlement.opened_at_us
            )
            if segment_id is None:
                msg = f"There is no subscription {subscription_id} to book to."
                raise BadRequestError(msg)
        elif state is not RequestState.ABANDONED:
            state = RequestState.FAILED
        place = (key_id, subscription_id, segment_id)
        owners: LimitedOwners = ()
        if self._limiting.anyone and subscription_id is not None:
            owners = self._limiting.owners(connection, key_id, subscription_id)
        first = len(entries.events)
        if settlement.appended_from:
            entries.appends.append(appending.Claim(settlement, place, owners))
            if settlement.key is None and subscription_id is not None and segment_id is not None:
                ended = appending.ended_as_nobodys(connection, settlement)
                if ended is not None:
                    self._enter_events(connection, ended, (subscription_id, segment_id), entries)
        else:
            as_opened = self._limiting.remembers(settlement.request_id)
            entries.requests.append(_settled(settlement, state, place, as_opened=as_opened))
        if state is _DEFERRED:
            entries.deferring = True
        elif subscription_id is not None and segment_id is not None:
            self._enter_events(connection, settlement, (subscription_id, segment_id), entries)
        if owners:
            own = settlement, entries.events[first:]
            entries.limited.setdefault(owners, []).append(own)

    def _enter_events(
        self,
        connection: sqlite3.Connection,
        settlement: Settlement,
        place: tuple[int, int],
        entries: Entries,
    ) -> None:
        """Add the events: ``.0`` is the request itself, the others what it used.

        Those that are appended are all what it used.
        """
        subscription_id, segment_id = place
        state = _PLAIN[settlement.measurement.state]
        dimensions = (
            segment_id,
            settlement.model,
            settlement.model_requested,
            settlement.service_tier,
            settlement.context_class,
            state,
        )
        types = self._series.types(dimensions)
        request_id, opened_at_us = settlement.request_id, settlement.opened_at_us
        quarter = opened_at_us // QUARTER_US
        events, sums = entries.events, entries.quarters
        n = settlement.appended_from
        if not n:
            series_id = None if state == _FAILED else types.get((_REQUESTS, state))
            if series_id is None:
                priced_by = Dimensions(*dimensions)
                if state == _FAILED:
                    priced_by = priced_by.of_failures()
                series_id = self._series.number(connection, priced_by, _REQUESTS, state)
            events.append((subscription_id, request_id, 0, series_id, opened_at_us, 1))
            slot = series_id, quarter
            sums[slot] = sums.get(slot, 0) + 1
            n = 1
        for used in settlement.measurement.usage.quantities:
            metric, kind, quantity = used.metric, used.type, used.quantity
            if quantity > LARGEST_QUANTITY:
                msg = f"A quantity of {quantity} {metric} can't be right: it is not recorded."
                raise BadRequestError(msg)
            apart = used.model is not None or used.context_class is not None
            series_id = None if apart else types.get((metric, kind))
            if series_id is None:
                priced_by = Dimensions(*dimensions).priced_by(used.model, used.context_class)
                series_id = self._series.number(connection, priced_by, metric, kind)
            events.append((subscription_id, request_id, n, series_id, opened_at_us, quantity))
            slot = series_id, quarter
            sums[slot] = sums.get(slot, 0) + quantity
            n += 1


def _reservation(held: Held | None) -> tuple[str | None, int | None]:
    if held is None:
        return _NOTHING
    amount = held.amount
    return None if amount is None else str(amount), held.tokens


def _settled(
    settlement: Settlement,
    state: RequestState,
    place: tuple[int | None, int | None, int | None],
    *,
    as_opened: bool,
) -> tuple[object, ...]:
    measurement = settlement.measurement
    usage = measurement.usage
    return (
        settlement.request_id,
        _PLAIN[state],
        None if state is _DEFERRED else settlement.settled_at_us,
        settlement.model,
        settlement.upstream_status,
        settlement.service_tier,
        settlement.context_class,
        usage.reasoning_tokens,
        "; ".join(usage.notes) or None,
        measurement.raw[:RAW_USAGE_BYTES] or None,
        *place,
        1 if as_opened else 0,
    )
