"""What every worker does from time to time, for itself and for those that are no more."""

import asyncio
import logging
from collections.abc import Callable

from proxy.core.times import SECOND_US
from proxy.errors import LedgerUnavailableError
from proxy.ledger.port import Ledger
from proxy.ledger.spool import Spool

REPLAY_S = 1.0
"""How soon what was spooled is in the ledger once that can be written again."""
RECOVER_S = 2.0
"""How soon the requests of a worker that died are abandoned, and its reservations end."""
PRUNE_S = 3600.0
UNOWNED_KEPT_US = 86_400 * SECOND_US
"""How long failures of keys that never worked are kept: a day; in passthrough anyone makes them."""
log = logging.getLogger("weighbridge")


async def keep_up(ledger: Ledger, clock_us: Callable[[], int]) -> None:
    """Recover what dead workers left, and prune what belongs to nobody; runs for ever."""
    loop = asyncio.get_running_loop()
    prune_at_s = loop.time() + RECOVER_S
    while True:
        await asyncio.sleep(RECOVER_S)
        try:
            await ledger.recover()
        except LedgerUnavailableError as error:
            log.warning("the ledger's upkeep has to wait: %s", error.message)
        if loop.time() < prune_at_s:
            continue
        prune_at_s = loop.time() + PRUNE_S
        try:
            pruned = await ledger.prune_unowned(clock_us() - UNOWNED_KEPT_US)
            if pruned:
                log.info("pruned %d failed requests with keys that never worked", pruned)
        except LedgerUnavailableError as error:
            log.warning("pruning has to wait: %s", error.message)


async def empty_spool(spool: Spool, ledger: Ledger) -> None:
    """Bring this worker's spool into the ledger as soon as that takes it; runs for ever."""
    while True:
        await asyncio.sleep(REPLAY_S)
        try:
            replayed = await spool.replay(ledger.settle)
            if replayed:
                log.warning("%d settlements went from the spool to the ledger", replayed)
        except LedgerUnavailableError as error:
            log.warning("the spool has to wait: %s", error.message)
