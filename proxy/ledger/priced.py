"""What rating needs to know of one request; read in a connection's thread."""

import sqlite3
from collections import defaultdict

from proxy.core.rating import PricedRequest
from proxy.core.times import from_us
from proxy.core.usage import Metric, Quantity

_EVENTS = (
    "SELECT e.occurred_at_us, s.segment_id, g.plan, s.model, s.model_requested, s.service_tier,"
    " s.context_class, s.metric, s.type, e.quantity FROM requests AS r"
    " JOIN events AS e ON e.subscription_id = r.subscription_id AND e.request_id = r.id"
    " JOIN series AS s ON s.id = e.series_id JOIN segments AS g ON g.id = s.segment_id"
    " WHERE r.id = ? ORDER BY e.n"
)


def read_priced_request(connection: sqlite3.Connection, request_id: int) -> list[PricedRequest]:
    """Read a request's quantities: one value for each model, tier and class that they are of."""
    places: defaultdict[tuple[int, int, str, str, str, str, str], list[Quantity]]
    places = defaultdict(list)
    for *place, metric, kind, quantity in connection.execute(_EVENTS, (request_id,)):
        used = Quantity(metric=Metric(metric), type=kind, quantity=quantity)
        places[tuple(place)].append(used)
    return [
        PricedRequest(
            segment_id=segment_id,
            plan=plan,
            at=from_us(at_us),
            model=model,
            model_requested=requested,
            service_tier=tier,
            context_class=context_class,
            quantities=tuple(quantities),
        )
        for (at_us, segment_id, plan, model, requested, tier, context_class), quantities in (
            places.items()
        )
    ]
