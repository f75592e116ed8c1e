"""The states of limited owners: read or derived where they are not known, kept once a transaction.

They stay known from transaction to transaction, until another connection commits.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from decimal import Decimal

from proxy.core.allowances import crossings
from proxy.core.limits import Held, LimitState, Spend, Window, defer, window_at
from proxy.core.limits_together import Ended, admit_together, fit_together, settle_together
from proxy.core.money import decimal_text
from proxy.ledger.limit_owners import LedgerBook, LimitedOwner, LimitedOwners
from proxy.ledger.limit_states import OtherWriters, StateRow, read_states, write_states
from proxy.ledger.limit_sums import Derivation, derive, keep_key_sums

_LOG = logging.getLogger("weighbridge")
_SHOWN = Decimal("0.0001")
_REMEMBERED = 20_000


class Account:
    """An owner's state, kept from transaction to transaction, and what it was before this one."""

    __slots__ = (
        "before", "kept", "late", "owner", "settled", "state", "sums_kept", "undo",
    )  # fmt: skip

    def __init__(self, owner: LimitedOwner, kept: LimitState | None) -> None:
        self.owner = owner
        self.kept = kept
        self.sums_kept = self.settled = False
        self.late: dict[tuple[Window, int], Spend] = {}
        self.before = self.undo = self.state = kept or LimitState()

    def settle(self, ends: Sequence[Ended]) -> None:
        """Put the truth in the place of what was held."""
        self.settled = True
        self.state = settle_together(self.state, self.owner.caps, ends)

    def defer(self, held: Held) -> None:
        """Let a request hold on to what it holds: its usage comes later."""
        self.settled = True
        if held.running:
            self.state = defer(self.state)

    def admit(self, state: LimitState) -> None:
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

    def keep(self) -> None:
        """Take the state for the one before: it is kept."""
        self.before = self.undo = self.kept = self.state
        self.settled = False
        self.late.clear()


class Together:
    """The accounts of a request's owners, and what their limits look at.

    ``plans`` are their subscription's, newest first. ``each``: requests are looked at one by one.
    ``limits_money``: there is a budget. ``counts_money``: what is spent is counted, if only
    because there was one; ``sums_kept`` are the keys whose usage has sums of its own.
    """

    __slots__ = (
        "accounts", "counts_money", "counts_tokens", "each", "limits_money", "plans", "sums_kept",
        "tells",
    )  # fmt: skip

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        owners = [account.owner for account in accounts]
        self.accounts = accounts
        self.plans = owners[0].plans
        self.each = any(owner.caps.each for owner in owners)
        self.limits_money = any(owner.caps.spends for owner in owners)
        self.counts_money = any(account.state.spends for account in accounts)
        self.counts_tokens = any(owner.caps.tokens_per_minute for owner in owners)
        self.tells = any(owner.tells for owner in owners)
        self.sums_kept = tuple(
            account.owner.key_id
            for account in accounts
            if account.sums_kept and account.owner.key_id is not None
        )

    def take(self, amount: Decimal, number: int, earliest_us: int) -> bool:
        """Admit so many requests where they fit all of the owners for sure; else nothing."""
        for account in self.accounts:
            if not fit_together(account.state, account.owner.caps, amount, earliest_us):
                return False
        for account in self.accounts:
            account.state = admit_together(account.state, amount, number)
        return True


class Accounts:
    """The accounts by their owners' numbers: those of this transaction, and those known before.

    Known ones hold while no other connection commits. What is written otherwise, or rolled back,
    must be forgotten: :meth:`forget`, :meth:`forget_states`.
    """

    def __init__(self, book: LedgerBook) -> None:
        self._book = book
        self._others = OtherWriters()
        self.by_owner: dict[int, Account] = {}
        self._known: dict[int, Account] = {}
        self._together: dict[LimitedOwners, Together] = {}
        self._warnings: list[str] = []

    def of(self, owners: LimitedOwners) -> Together:
        """Return the accounts of a request's owners, which are loaded."""
        together = self._together.get(owners)
        if together is None:
            together = Together(tuple(self.by_owner[owner.number] for owner in owners))
            self._together[owners] = together
        return together

    def forget(self) -> None:
        """Forget all: the transaction is rolled back."""
        self.by_owner.clear()
        self.forget_states()
        self._warnings.clear()

    def forget_states(self) -> None:
        """Read kept states anew: others than these accounts may have changed them."""
        self._known.clear()
        self._together.clear()

    def mark(self) -> None:
        """Note how things stand: :meth:`undo` goes back to here."""
        for account in self.by_owner.values():
            account.undo = account.state

    def undo(self) -> None:
        """Take back what was admitted since the mark."""
        for account in self.by_owner.values():
            account.state = account.undo
            account.late.clear()

    def drop_unsettled(self) -> None:
        """Forget what was only read."""
        for number, account in list(self.by_owner.items()):
            if not account.settled:
                del self.by_owner[number]
        self.forget_states()

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
        spends = [
            spend._replace(spent=derivation.spent(spend.start_us, spend.end_us))
            for spend in account.state.spends
        ]
        account.state = account.state._replace(spends=tuple(spends))

    def finish(self, connection: sqlite3.Connection) -> None:
        """Keep what changed; call it before the commit."""
        changed = []
        for account in self.by_owner.values():
            if account.settled:
                self._warn(account)
            if account.state is not account.kept:
                owner = account.owner
                changed.append(
                    StateRow(
                        owner.number,
                        owner.subscription_id,
                        owner.basis,
                        account.state,
                        account.sums_kept,
                    )
                )
            account.keep()
        self._known |= self.by_owner
        self.by_owner.clear()
        if changed:
            write_states(connection, changed)

    def committed(self) -> None:
        """Say which thresholds were crossed, now that it is a fact."""
        for warning in self._warnings:
            _LOG.warning("%s", warning)
        self._warnings.clear()

    def load(
        self,
        connection: sqlite3.Connection,
        latest: Mapping[LimitedOwners, int],
    ) -> None:
        """Have the owners' accounts, with the windows that hold the latest of their moments."""
        known = max(len(self._known), len(self._together))
        if not self.by_owner and (self._others.wrote(connection) or known > _REMEMBERED):
            self.forget_states()
        moments = [(owner, at_us) for owners, at_us in latest.items() for owner in owners]
        missing = {owner.number for owner, _ in moments} - self.by_owner.keys() - self._known.keys()
        rows = read_states(connection, list(missing)) if missing else {}
        for owner, at_us in moments:
            number = owner.number
            account = self.by_owner.get(number) or self._known.get(number)
            if account is None:
                account = self._account(connection, owner, rows.get(number), at_us)
            self.by_owner[number] = account
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
