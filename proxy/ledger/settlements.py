"""The settlement of a request that is at hand, whoever saw its end."""

from typing import Protocol

from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement
from proxy.ledger.port import Settlement


class Opened(Protocol):
    """What a settlement says of the request that it ends."""

    id: int
    opened_at_us: int
    key: ApiKey | None
    key_digest: bytes | None
    key_prefix: str
    model: str


def settlement_of(
    request: Opened,
    measurement: Measurement,
    settled_at_us: int,
    *,
    model: str = "",
    service_tier: str = "",
    context_class: str = "",
    upstream_status: int | None = None,
) -> Settlement:
    """Return a request's settlement; without what an answer tells, that of one unanswered."""
    return Settlement(
        request_id=request.id,
        opened_at_us=request.opened_at_us,
        settled_at_us=settled_at_us,
        key=request.key,
        key_digest=request.key_digest,
        key_prefix=request.key_prefix,
        model_requested=request.model,
        model=model,
        service_tier=service_tier,
        context_class=context_class,
        upstream_status=upstream_status,
        measurement=measurement,
    )
