"""The states of limited owners within a transaction: read once, derived, and kept once."""

import logging
import sqlite3
from collections.abc import Mapping
from decimal import Decimal

from proxy.core.allowances import crossings
from proxy.core.limits import (
    Held,
    LimitState,
    Spend,
    Window,
    move,
    room,
    settle,
    window_at,
)
from proxy.core.money import EXACT, ZERO, decimal_text
from proxy.ledger.limit_owners import LedgerBook, LimitedOwner
from proxy.ledger.limit_states import KnownStates, StateRow
from proxy.ledger.limit_sums import Derivation, derive, keep_key_sums

_LOG = logging.getLogger("weighbridge")
_SHOWN = Decimal("0.0001")
_add = EXACT.add
_subtract = EXACT.subtract
_UNKNOWN = Decimal("NaN")
"""What is left of a state that has not been looked at."""


class Account:
    """An owner's state within a transaction, and what it was before.

    Where nothing but money is limited, and what is asked fits, admissions and settlements are
    only summed up, and moved into the state at once (:meth:`flush`).
    """

    __slots__ = (
        "_cost", "_ended", "_freed", "_from_us", "_overruns", "_room", "_taken", "_took",
        "before", "kept", "late", "owner", "pooled", "settled", "state", "sums_kept", "undo",
    )  # fmt: skip

    def __init__(self, owner: LimitedOwner, kept: LimitState | None) -> None:
        self.owner = owner
        self.kept = kept
        self.sums_kept = self.settled = self.pooled = False
        self.late: dict[tuple[Window, int], Spend] = {}
        self.set(kept or LimitState())
        self.before = self.undo = self.state

    def set(self, state: LimitState) -> None:
        """Take over a state; what was summed up is in it, or is gone."""
        self.state = state
        self._taken = self._freed = self._cost = ZERO
        self._took = self._ended = self._overruns = 0
        self._room: Decimal | None = _UNKNOWN
        self._from_us = 0

    def _look(self) -> Decimal | None:
        """Look up what is left, once for a state."""
        state = self.state
        self._room = room(state, self.owner.caps)
        self._from_us = max([spend.start_us for spend in state.spends], default=0)
        return self._room

    def flush(self) -> None:
        """Move what was summed up into the state."""
        if self._took or self._ended:
            self.set(
                move(
                    self.state,
                    spent=self._cost,
                    reserved=_subtract(self._taken, self._freed),
                    running=self._took - self._ended,
                    overruns=self._overruns,
                )
            )

    def take(self, amount: Decimal, at_us: int) -> bool:
        """Admit a worst case that fits for sure; if it does not, admission must look closer."""
        left = self._room
        if left is _UNKNOWN:
            left = self._look()
        if left is None or at_us < self._from_us:
            return False
        taken = _add(self._taken, amount)
        if taken > left:
            return False
        self._taken = taken
        self._took += 1
        return True

    def give_back(self, amount: Decimal) -> None:
        """Take an admission back: it did not fit elsewhere."""
        self._taken = _subtract(self._taken, amount)
        self._took -= 1

    def count_in(self) -> None:
        """Count a request as running that was admitted when it was nobody's."""
        self._took += 1

    def book(self, held: Held, cost: Decimal, tokens: int) -> None:
        """Settle a request: put the truth in the place of what was held."""
        self.settled = True
        opened_at_us, amount, _, running = held
        left = self._room
        if left is _UNKNOWN:
            left = self._look()
        if left is None or opened_at_us < self._from_us:
            self.flush()
            self.set(settle(self.state, self.owner.caps, held, cost, tokens))
            return
        self._cost = _add(self._cost, cost)
        if amount is not None:
            self._freed = _add(self._freed, amount)
            if cost > amount:
                self._overruns += 1
        # Counted even if it did not run here: something is to be flushed.
        self._ended += 1
        if not running:
            self._took += 1

    @property
    def changed(self) -> bool:
        """Whether it is not as it is kept."""
        return self.state is not self.kept

    def admit(self, state: LimitState) -> None:
        """Keep an admission's state; windows that are over stay with the transaction."""
        own = self.state.spends
        if not self.late:
            self.set(state)
            return
        spends = []
        for kept, taken in zip(own, state.spends, strict=True):
            if kept.start_us == taken.start_us:
                spends.append(taken)
            else:
                self.late[taken.window, taken.start_us] = taken
                spends.append(kept)
        self.set(LimitState(tuple(spends), *state[1:]))


class Together:
    """The accounts of a request's owners, and what their limits look at.

    ``limits_money``: there is a budget. ``counts_money``: what is spent is counted, if only
    because there was one; ``sums_kept`` are the keys whose usage has sums of its own.
    """

    __slots__ = (
        "accounts", "book", "counts_money", "counts_tokens", "limits_money", "plan_at",
        "sums_kept", "take", "tells",
    )  # fmt: skip

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        owners = [account.owner for account in accounts]
        self.accounts = accounts
        self.plan_at = owners[0].plan_at
        self.limits_money = any(owner.caps.spends for owner in owners)
        self.counts_money = any(account.state.spends for account in accounts)
        self.counts_tokens = any(owner.caps.tokens_per_minute for owner in owners)
        self.tells = any(owner.tells for owner in owners)
        self.sums_kept = tuple(
            account.owner.key_id
            for account in accounts
            if account.sums_kept and account.owner.key_id is not None
        )
        only = accounts[0] if len(accounts) == 1 else None
        self.take = self._take if only is None else only.take
        self.book = self._book if only is None else only.book

    def _take(self, amount: Decimal, at_us: int) -> bool:
        """Admit what fits all of them for sure; else nothing is taken."""
        for place, account in enumerate(self.accounts):
            if not account.take(amount, at_us):
                for taken in self.accounts[:place]:
                    taken.give_back(amount)
                return False
        return True

    def _book(self, held: Held, cost: Decimal, tokens: int) -> None:
        """Settle a request with all of them; those that count no money are told of none."""
        for account in self.accounts:
            account.book(held, cost if account.state.spends else ZERO, tokens)


class Accounts:
    """All accounts of a transaction, by their owners' numbers."""

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._states = KnownStates()
        self.by_owner: dict[int, Account] = {}
        self._together: dict[tuple[LimitedOwner, ...], Together] = {}
        self._warnings: list[str] = []

    def of(self, owners: tuple[LimitedOwner, ...]) -> Together:
        """Return the accounts of a request's owners, which are loaded."""
        together = self._together.get(owners)
        if together is None:
            together = Together(tuple(self.by_owner[owner.number] for owner in owners))
            self._together[owners] = together
        return together

    def _clear(self) -> None:
        self.by_owner.clear()
        self._together.clear()

    def forget(self) -> None:
        """Forget all: the transaction is rolled back."""
        self._clear()
        self.forget_states()
        self._warnings.clear()

    def forget_states(self) -> None:
        """Read kept states anew: others than these accounts may have changed them."""
        self._states.forget()

    def mark(self) -> None:
        """Note how things stand: :meth:`undo` goes back to here."""
        for account in self.by_owner.values():
            account.flush()
            account.undo = account.state

    def undo(self) -> None:
        """Take back what was admitted since the mark."""
        for account in self.by_owner.values():
            account.set(account.undo)
            account.late.clear()

    def drop_unsettled(self) -> None:
        """Forget what was only read."""
        for number, account in list(self.by_owner.items()):
            if not account.settled:
                del self.by_owner[number]
        self._together.clear()

    def as_of(self, connection: sqlite3.Connection, account: Account, at_us: int) -> LimitState:
        """Return the state with the windows that hold a moment: nearly always as it is.

        A request accepted just before midnight may be decided after others from beyond it: it
        is held against the day that was, derived for this transaction.
        """
        state = account.state
        for spend in state.spends:
            if at_us < spend.start_us:
                break
        else:
            return state
        spends = []
        derivation = self._derivation(connection, account)
        for spend in state.spends:
            if at_us >= spend.start_us:
                spends.append(spend)
                continue
            start_us, _ = window_at(
                spend.window, at_us, account.owner.timezone, account.owner.anchor
            )
            late = account.late.get((spend.window, start_us))
            if late is None:
                late = derivation.spend(spend.window, at_us)
                account.late[spend.window, start_us] = late
            spends.append(late)
        return LimitState(tuple(spends), *state[1:])

    def rate_again(self, connection: sqlite3.Connection, account: Account) -> None:
        """Rate the windows anew, from the sums: packages, tiers and free units see all of it."""
        account.flush()
        derivation = self._derivation(connection, account)
        account.pooled = False
        spends = [
            spend._replace(spent=derivation.spent(spend.start_us, spend.end_us))
            for spend in account.state.spends
        ]
        account.set(account.state._replace(spends=tuple(spends)))

    def finish(self, connection: sqlite3.Connection) -> None:
        """Keep what changed; call it before the commit."""
        for account in self.by_owner.values():
            account.flush()
        accounts = [account for account in self.by_owner.values() if account.changed]
        self._clear()
        for account in accounts:
            if account.settled:
                self._warn(account)
        if not accounts:
            return
        self._states.write(
            connection,
            [
                StateRow(
                    account.owner.number,
                    account.owner.subscription_id,
                    account.owner.basis,
                    account.state,
                    account.sums_kept,
                )
                for account in accounts
            ],
        )

    def committed(self) -> None:
        """Say which thresholds were crossed, now that it is a fact."""
        for warning in self._warnings:
            _LOG.warning("%s", warning)
        self._warnings.clear()

    def load(
        self,
        connection: sqlite3.Connection,
        latest: Mapping[tuple[LimitedOwner, ...], int],
    ) -> None:
        """Have the owners' accounts, with the windows that hold the latest of their moments."""
        moments = [(owner, at_us) for owners, at_us in latest.items() for owner in owners]
        missing = {owner.number for owner, _ in moments} - self.by_owner.keys()
        rows = self._states.read(connection, list(missing)) if missing else {}
        for owner, at_us in moments:
            account = self.by_owner.get(owner.number)
            if account is None:
                account = self._account(connection, owner, rows.get(owner.number), at_us)
                self.by_owner[owner.number] = account
            self._roll(connection, account, at_us)

    def _account(
        self,
        connection: sqlite3.Connection,
        owner: LimitedOwner,
        row: StateRow | None,
        at_us: int,
    ) -> Account:
        """Take up a kept state; derive it where there is none, or it is by another book."""
        state = LimitState() if row is None else row.state
        wanted = dict.fromkeys([spend.window for spend in state.spends])
        wanted |= dict.fromkeys(window for window, _ in owner.caps.spends)
        account = Account(owner, None if row is None else row.state)
        account.sums_kept = row is not None and row.sums_kept
        if owner.key_id is not None and wanted and not account.sums_kept:
            keep_key_sums(connection, owner)
            account.sums_kept = True
        if row is None or row.basis != owner.basis or len(wanted) > len(state.spends):
            derivation = self._derivation(connection, account)
            at_us = max(at_us, *(spend.start_us for spend in state.spends), 0)
            account.set(derive(derivation, state, list(wanted), at_us))
            account.before = state if state.spends else account.state
        account.undo = account.state
        return account

    def _roll(self, connection: sqlite3.Connection, account: Account, at_us: int) -> None:
        """Begin the windows that a moment is in, where those before are over."""
        account.flush()
        state = account.state
        for spend in state.spends:
            if at_us >= spend.end_us:
                break
        else:
            return
        derivation = self._derivation(connection, account)
        spends = [
            derivation.spend(spend.window, at_us) if at_us >= spend.end_us else spend
            for spend in state.spends
        ]
        account.set(LimitState(tuple(spends), *state[1:]))
        account.undo = account.state

    def _derivation(self, connection: sqlite3.Connection, account: Account) -> Derivation:
        return Derivation(connection, self._book.book, account.owner, kept=account.sums_kept)

    def _warn(self, account: Account) -> None:
        owner = account.owner
        for crossing in crossings(account.before, account.state, owner.caps):
            what = "limit" if crossing.threshold == 1 else "threshold"
            self._warnings.append(
                f"budget {what} reached: {owner.whose} has used "
                f"{decimal_text(crossing.used.quantize(_SHOWN))} of its spend limit "
                f"({crossing.window}), threshold {decimal_text(crossing.threshold)}"
            )
