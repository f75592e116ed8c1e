"""The states of limited owners within a transaction: read once, derived, and kept once."""

import logging
import sqlite3
from collections.abc import Iterable, ValuesView
from decimal import Decimal

from proxy.core.allowances import crossings
from proxy.core.limits import LimitState, Spend, Window, window_at
from proxy.core.money import decimal_text
from proxy.ledger.limit_owners import LedgerBook, LimitedOwner
from proxy.ledger.limit_states import StateRow, read_states, write_states
from proxy.ledger.limit_sums import Derivation, derive, keep_key_sums

_LOG = logging.getLogger("weighbridge")
_SHOWN = Decimal("0.0001")


class Account:
    """An owner's state within a transaction, and what it was before."""

    __slots__ = (
        "before", "kept", "late", "owner", "pooled", "settled", "state", "sums_kept", "undo",
    )  # fmt: skip

    def __init__(self, owner: LimitedOwner, kept: LimitState | None) -> None:
        self.owner = owner
        self.kept = kept
        self.state = self.before = self.undo = kept or LimitState()
        self.sums_kept = False
        self.settled = False
        self.pooled = False
        self.late: dict[tuple[Window, int], Spend] = {}

    @property
    def changed(self) -> bool:
        """Whether it is not as it is kept."""
        return self.state is not self.kept

    def take(self, state: LimitState) -> None:
        """Keep an admission's state; windows that are over stay with the transaction."""
        own = self.state.spends
        if not self.late:
            self.state = state
            return
        spends = []
        for kept, taken in zip(own, state.spends, strict=True):
            if kept.start_us == taken.start_us:
                spends.append(taken)
            else:
                self.late[taken.window, taken.start_us] = taken
                spends.append(kept)
        self.state = LimitState(tuple(spends), *state[1:])


class Accounts:
    """All accounts of a transaction."""

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._accounts: dict[int, Account] = {}
        self._warnings: list[str] = []

    def __getitem__(self, number: int) -> Account:
        """Return an owner's account, which is loaded."""
        return self._accounts[number]

    def values(self) -> ValuesView[Account]:
        """Return all that are loaded."""
        return self._accounts.values()

    def forget(self) -> None:
        """Forget all: the transaction is rolled back."""
        self._accounts.clear()
        self._warnings.clear()

    def mark(self) -> None:
        """Note how things stand: :meth:`undo` goes back to here."""
        for account in self._accounts.values():
            account.undo = account.state

    def undo(self) -> None:
        """Take back what was admitted since the mark."""
        for account in self._accounts.values():
            account.state = account.undo
            account.late.clear()

    def drop_unsettled(self) -> None:
        """Forget what was only read."""
        for number, account in list(self._accounts.items()):
            if not account.settled:
                del self._accounts[number]

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
        derivation = self._derivation(connection, account)
        account.pooled = False
        spends = [
            spend._replace(spent=derivation.spent(spend.start_us, spend.end_us))
            for spend in account.state.spends
        ]
        account.state = account.state._replace(spends=tuple(spends))

    def finish(self, connection: sqlite3.Connection) -> None:
        """Keep what changed; call it before the commit."""
        accounts = [account for account in self._accounts.values() if account.changed]
        self._accounts.clear()
        for account in accounts:
            if account.settled:
                self._warn(account)
        if not accounts:
            return
        write_states(
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
        self, connection: sqlite3.Connection, wanted: Iterable[tuple[LimitedOwner, int]]
    ) -> None:
        """Have the owners' accounts, with the windows that hold the latest of their moments."""
        latest: dict[int, int] = {}
        owners: dict[int, LimitedOwner] = {}
        for owner, at_us in wanted:
            number = owner.number
            if at_us > latest.get(number, -1):
                latest[number] = at_us
            owners[number] = owner
        missing = [number for number in owners if number not in self._accounts]
        rows = read_states(connection, missing) if missing else {}
        for number, owner in owners.items():
            account = self._accounts.get(number)
            if account is None:
                account = self._account(connection, owner, rows.get(number), latest[number])
                self._accounts[number] = account
            self._roll(connection, account, latest[number])

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
            account.state = derive(derivation, state, list(wanted), at_us)
            account.before = state if state.spends else account.state
        account.undo = account.state
        return account

    def _roll(self, connection: sqlite3.Connection, account: Account, at_us: int) -> None:
        """Begin the windows that a moment is in, where those before are over."""
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
        account.state = LimitState(tuple(spends), *state[1:])
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
