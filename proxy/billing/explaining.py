"""Why a request costs what it does, by the prices that its period is billed by."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proxy.billing.books import BookShelf
from proxy.billing.spans import period_at
from proxy.core.ids import from_text, to_text
from proxy.core.money import decimal_text, total
from proxy.core.periods import Period, utc_text
from proxy.core.rating import Explanation, explain, pool_quantities, windows
from proxy.core.units import shown_units
from proxy.errors import BadRequestError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An explained request: the book's number, its period, and the invoice if that is closed."""

    request_id: int
    subscription: str
    at: datetime
    currency: str
    book_sequence: int
    period: Period
    number: str | None
    parts: tuple[Explanation, ...]


async def explain_request(shelf: BookShelf, text: str) -> Explained:
    """Explain a request's amount by its id as text.

    Errors: BadRequestError for what is no id; NotFoundError where nothing of it is billed.
    """
    request_id = _request_id(text)
    record = await shelf.ledger.request(request_id)
    if record is None:
        raise NotFoundError(f"There is no request {text} in this ledger.")
    priced = await shelf.ledger.priced_request(request_id)
    holder = await shelf.ledger.subscription(record.subscription) if priced else None
    if holder is None:
        raise NotFoundError(f"Request {text} is {record.state}: it has no usage to be billed.")
    at = priced[0].at
    edition = await shelf.in_force()
    book, sequence = edition.book, edition.sequence
    closed = await shelf.ledger.closed_period(holder.external_id, at)
    if closed is not None and at in closed.period:
        sequence, period, sums = closed.book_sequence, closed.period, closed.sums
        book = await shelf.of(sequence)
        bounds = windows(book, period)
    else:
        activity = await shelf.ledger.activity_of(holder.external_id)
        period = period_at(book, holder, at, activity.through if activity else None)
        bounds = windows(book, period)
        standing = await shelf.ledger.standing(holder.external_id, bounds)
        sums = standing.sums if standing is not None else ()
        closed = None
    pools = pool_quantities(book, sums, bounds)
    return Explained(
        request_id=request_id,
        subscription=holder.external_id,
        at=at,
        currency=book.currency,
        book_sequence=sequence,
        period=period,
        number=None if closed is None else closed.number,
        parts=tuple(explain(book, each, pools) for each in priced),
    )


def render_explained(explained: Explained) -> dict[str, Any]:
    """Return an explanation as a JSON object."""
    parts = [part for explanation in explained.parts for part in explanation.quantities]
    amount = total([explanation.amount for explanation in explained.parts])
    return {
        "request": to_text(explained.request_id),
        "subscription": explained.subscription,
        "accepted_at": utc_text(explained.at),
        "period": {
            "start": utc_text(explained.period.start),
            "end": utc_text(explained.period.end),
            "timezone": explained.period.timezone,
        },
        "invoice": explained.number,
        "prices": {"sequence": explained.book_sequence},
        "currency": explained.currency,
        "quantities": [
            {
                "metric": part.quantity.metric.value,
                "type": part.quantity.type,
                "quantity": shown_units(part.quantity.metric, part.quantity.quantity),
                "steps": [
                    {"rule": step.rule, "result": step.result, "because": step.because}
                    for step in part.steps
                ],
                "amount": None if part.amount is None else decimal_text(part.amount, 2),
            }
            for part in parts
        ],
        "amount": decimal_text(amount, 2),
    }


def _request_id(text: str) -> int:
    try:
        return from_text(text)
    except ValueError as error:
        raise BadRequestError(
            f"{error}. The header x-weighbridge-request-id and the log have it.", param="request"
        ) from None
