"""Series, as rating sees them: so much of one kind of usage between two moments."""

from dataclasses import dataclass

from proxy.core.usage import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSum:
    """The quantity of one series between two moments.

    ``window`` is the index into the windows asked for. ``events`` are not counted here: sums
    are kept, events may be pruned.
    """

    window: int
    segment_id: int
    plan: str
    metric: Metric
    type: str
    model: str
    model_requested: str
    service_tier: str
    context_class: str
    source: str
    quantity: int
