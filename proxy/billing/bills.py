"""The invoice of any period: as it was, once the period is closed; proposed until then."""

from datetime import datetime
from typing import Any

from proxy.billing.books import BookShelf
from proxy.billing.rated import charged_in, usage_now
from proxy.billing.spans import moment_of, period_at, present, required
from proxy.core.book import PriceBook
from proxy.core.invoices import invoice, render_invoice
from proxy.core.periods import utc_text
from proxy.core.rating import windows
from proxy.core.report import current_usage
from proxy.errors import NotFoundError


async def invoice_json(
    shelf: BookShelf,
    book: PriceBook,
    subscription: str,
    now: datetime,
    period: str | None = None,
) -> dict[str, Any]:
    """Return an invoice as its JSON object.

    ``period`` is a month (``2026-10``) or a day in the customer's timezone; None: the open period.

    Errors: NotFoundError for a subscription that is not there, or a time without a period;
    BadRequestError for a period that can't be read.
    """
    if period is None:
        usage = await usage_now(shelf, book, subscription, now)
        return render_invoice(invoice(required(usage, subscription)))
    holder = required(await shelf.ledger.subscription(subscription), subscription)
    moment = moment_of(period, holder.customer.timezone)
    closed = await shelf.ledger.closed_period(subscription, moment)
    if closed is None:
        return await _proposed(shelf, book, subscription, now, moment)
    if moment in closed.period:
        return dict(closed.invoice)
    raise NotFoundError(
        f"Subscription {subscription!r} used nothing in {period}, so there is no invoice: the "
        f"next is {closed.number}, from {utc_text(closed.period.start)}."
    )


async def _proposed(
    shelf: BookShelf, book: PriceBook, subscription: str, now: datetime, moment: datetime
) -> dict[str, Any]:
    activity = required(await shelf.ledger.activity_of(subscription), subscription)
    period = period_at(book, activity.subscription, moment, activity.through)
    if period.start > present(now, activity.through):
        raise NotFoundError(
            f"The period from {utc_text(period.start)} has not begun: leave the period out for "
            "the open one."
        )
    bounds = windows(book, period)
    facts = required(await shelf.ledger.period_sums(subscription, bounds), subscription)
    usage = current_usage(
        book,
        subscription=facts.subscription,
        period=period,
        bounds=bounds,
        sums=facts.sums,
        open_requests=facts.unsettled,
        adjustments=await charged_in(shelf, book, (facts.subscription, facts.late), period, now),
    )
    return render_invoice(invoice(usage))
