"""What a call does to an object of the upstream's that outlives it."""

from typing import Protocol

from proxy.core.usage import Measurement
from proxy.ledger.port import DeferredObject
from proxy.ledger.settlements import Opened
from proxy.metering.outcome import Outcome
from proxy.metering.upstreams import Upstream
from proxy.wire.answer import AnswerMeter
from proxy.wire.headers import AnswerHead
from proxy.wire.usage import UsageReader


class Deferral(Protocol):
    """What a call does to an object that outlives it."""

    upstream: Upstream
    """Where the object is."""

    def attend(
        self, call: Opened, head: AnswerHead, meter: AnswerMeter, usage: UsageReader | None
    ) -> AnswerMeter:
        """Take part in the reading of an answer that begins; return the meter to use."""

    def later(self, outcome: Outcome) -> Measurement | None:
        """Return the measurement of a call whose usage comes later; None: it is as it is."""

    async def settle(self) -> DeferredObject | None:
        """Settle what the answer showed the end of; return what the call itself made.

        Errors: LedgerUnavailableError where neither ledger nor spool takes it.
        """


class Naming:
    """A call that names an object and shows nothing of its usage."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    def attend(
        self, call: Opened, head: AnswerHead, meter: AnswerMeter, usage: UsageReader | None
    ) -> AnswerMeter:
        """Leave the meter as it is."""
        del call, head, usage
        return meter

    def later(self, outcome: Outcome) -> Measurement | None:
        """Leave the measurement as it is."""
        del outcome
        return None

    async def settle(self) -> DeferredObject | None:
        """Nothing was made."""
        return None
