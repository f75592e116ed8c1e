"""Settlements that must not be lost: to the ledger, and where it can't take them, to its spool."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from proxy.errors import LedgerUnavailableError
from proxy.ledger.port import Ledger, Settlement

LOOK_S = 0.25


class SettleSpool(Protocol):
    """A second place that is as durable as the ledger."""

    async def append(self, settlement: Settlement) -> None:
        """Keep a settlement, fsynced; LedgerUnavailableError where that fails too."""


class Settler:
    """Settles durably: when :meth:`settle` returns, the settlement survives a power cut.

    The ledger has ``timeout_s`` to take it; then it goes to the spool, and the answer is
    released. Should the ledger have taken it all the same, the replay changes nothing.
    """

    def __init__(self, ledger: Ledger, spool: SettleSpool, *, timeout_s: float) -> None:
        self._ledger = ledger
        self._spool = spool
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[asyncio.Future[bool], tuple[float, Settlement]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def settle(self, settlement: Settlement) -> Coroutine[Any, Any, bool]:
        """Settle; False where the spool took it, not the ledger.

        Errors: LedgerUnavailableError where neither can.
        """
        return self._kept(self._ledger.settle(settlement), settlement)

    def append(self, part: Settlement) -> Coroutine[Any, Any, bool]:
        """Append usage of a running request; outcome and errors are those of :meth:`settle`."""
        return self._kept(self._ledger.append(part), part)

    async def _kept(self, future: asyncio.Future[bool], settlement: Settlement) -> bool:
        self._waiting[future] = self._loop.time(), settlement
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)
        try:
            await future
        except LedgerUnavailableError:
            await self._spool.append(settlement)
            return False
        else:
            return True
        finally:
            del self._waiting[future]

    def _look(self) -> None:
        """Spool what has waited too long: one look for all, not a timer for each."""
        self._timer = self._loop.call_later(LOOK_S, self._look) if self._waiting else None
        latest = self._loop.time() - self._timeout_s
        for future, (since, _) in list(self._waiting.items()):
            if since > latest:
                break
            if not future.done():
                future.set_exception(LedgerUnavailableError("The ledger takes too long."))
