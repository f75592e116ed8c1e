"""What is billed for a turn that has no end, or never began: pure decisions."""

from collections.abc import Sequence

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.metering.deferred_outcome import measure_lost
from proxy.metering.outcome import STOPPED_BY_US, Ended
from proxy.wire.session_meter import RUNNING


def measure_refused(why: str) -> Measurement:
    """Bill nothing for what the upstream did not take up."""
    return Measurement(state=RequestState.FAILED, usage=Usage(quantities=(), notes=(why,)))


def measure_unfinished(
    ended: Ended, model: str, body_bytes: int, *, begun: bool, why: Sequence[str]
) -> Measurement:
    """Decide what is billed for a turn that was running when its socket ended.

    One that had not begun is not billed, unless we stopped it: then nobody knows, and nothing may
    be free for being broken off early.
    """
    if not begun and ended not in STOPPED_BY_US:
        return measure_refused(str(ended))
    return measure_lost(model, body_bytes, "; ".join((RUNNING, *why)))
