"""Why a request costs what it does, by the prices that its period is billed by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from proxy.billing.adjusting import adjustment, settled_period, windowed
from proxy.billing.books import BookShelf
from proxy.billing.spans import period_at
from proxy.core.book import PriceBook
from proxy.core.ids import from_text, to_text
from proxy.core.money import decimal_text, total
from proxy.core.periods import Period, utc_text
from proxy.core.rating import Explanation, Line, explain, pool_quantities, windows
from proxy.core.series import SeriesSum
from proxy.core.subscriptions import Subscription
from proxy.core.units import shown_units
from proxy.errors import BadRequestError, NotFoundError
from proxy.ledger.periods import ClosedPeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An explained request: the book's number, its period, and the invoice if it is on one.

    ``adjusts`` is the invoice that was made of its period before the request was known: ``number``
    is the one that charges the adjustment, None while that is to come.
    """

    request_id: int
    subscription: str
    at: datetime
    currency: str
    book_sequence: int
    period: Period
    number: str | None
    adjusts: str | None
    parts: tuple[Explanation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basis:
    """What a request's amount rests on; ``late`` are the lines of the adjustment it is part of."""

    book: PriceBook
    sequence: int
    period: Period
    sums: Sequence[SeriesSum]
    number: str | None = None
    adjusts: str | None = None
    late: Sequence[Line] = ()


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
    closed = await shelf.ledger.closed_period(holder.external_id, at)
    if closed is None:
        basis = await _open_basis(shelf, holder, at)
    else:
        basis = await _closed_basis(shelf, holder, closed, (request_id, at))
    pools = pool_quantities(basis.book, basis.sums, windows(basis.book, basis.period))
    return Explained(
        request_id=request_id,
        subscription=holder.external_id,
        at=at,
        currency=basis.book.currency,
        book_sequence=basis.sequence,
        period=basis.period,
        number=basis.number,
        adjusts=basis.adjusts,
        parts=tuple(explain(basis.book, each, pools, basis.late) for each in priced),
    )


async def _open_basis(shelf: BookShelf, holder: Subscription, at: datetime) -> _Basis:
    edition = await shelf.in_force()
    activity = await shelf.ledger.activity_of(holder.external_id)
    period = period_at(edition.book, holder, at, activity.through if activity else None)
    standing = await shelf.ledger.standing(holder.external_id, windows(edition.book, period))
    return _Basis(
        book=edition.book,
        sequence=edition.sequence,
        period=period,
        sums=standing.sums if standing is not None else (),
    )


async def _closed_basis(
    shelf: BookShelf, holder: Subscription, closed: ClosedPeriod, request: tuple[int, datetime]
) -> _Basis:
    """Return what bills a request (its id and time) of a time that is closed: in time, or late."""
    request_id, at = request
    book = await shelf.of(closed.book_sequence)
    period, sums = settled_period(book, holder, closed, at)
    basis = _Basis(
        book=book, sequence=closed.book_sequence, period=period, sums=sums, number=closed.number
    )
    late_id = await shelf.ledger.late_of(request_id)
    if late_id is None:
        return basis
    known = await shelf.ledger.late_within(holder.id, period.start, period.end)
    (number,) = {each.billed_in for each in known if each.id == late_id}
    together = [each for each in known if each.billed_in == number]
    # They were billed in the order in which they came, and those that are not, came last.
    before = known[: known.index(together[0])]
    bounds = windows(book, period)
    return replace(
        basis,
        sums=[*sums, *windowed([*before, *together], bounds)],
        number=number,
        adjusts=closed.number,
        late=adjustment(book, closed, period, before, together).lines,
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
        "adjusts": explained.adjusts,
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
