"""``GET /usage/invoice``: what a subscription owes for a period, to read by program or person."""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qs

import msgspec

from proxy.billing.bills import invoice_json
from proxy.billing.page import invoice_page
from proxy.core.invoices import render_csv
from proxy.errors import BadRequestError
from proxy.http.exchange import Exchange
from proxy.web.configuration import BookInForce
from proxy.web.usage import UsageViews

_TYPES = {
    "json": b"application/json",
    "csv": b"text/csv; charset=utf-8",
    "html": b"text/html; charset=utf-8",
}
_ACCEPTED = {"application/json": "json", "text/csv": "csv", "text/html": "html"}
_NO_SCRIPTS = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class InvoiceViews:
    """Answers ``/usage/invoice``, to those who may see the subscription's usage."""

    def __init__(self, usage: UsageViews, books: BookInForce, now: Callable[[], datetime]) -> None:
        self._usage = usage
        self._books = books
        self._now = now

    async def invoice(self, exchange: Exchange) -> None:
        """Answer with the invoice of ``?period=2026-10``, or the open period's proposed one."""
        asked = parse_qs(exchange.head.query)
        form = chosen_form(asked.get("format"), exchange.head.fields.get(b"accept", b""))
        subscription = await self._usage.whose(exchange)
        period = asked["period"][0] if "period" in asked else None
        rendered = await invoice_json(
            self._books.shelf, self._books.book, subscription, self._now(), period
        )
        if form == "json":
            body = msgspec.json.encode(rendered)
        else:
            body = (render_csv(rendered) if form == "csv" else invoice_page(rendered)).encode()
        headers = [
            (b"content-type", _TYPES[form]),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept, authorization"),
            (b"x-content-type-options", b"nosniff"),
        ]
        if form == "html":
            headers.append((b"content-security-policy", _NO_SCRIPTS))
        exchange.respond(200, headers, body)


def chosen_form(asked: list[str] | None, accept: bytes) -> str:
    """Return ``json``, ``csv`` or ``html``: by ``?format=``, else by the header ``Accept``.

    Errors: BadRequestError for a format that there is not.
    """
    if asked:
        if asked[0] not in _TYPES:
            raise BadRequestError(
                f"There is no format {asked[0]!r}: take json, csv or html.", param="format"
            )
        return asked[0]
    wanted: list[tuple[float, str]] = []
    for part in accept.decode("latin-1").split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind.lower() in _ACCEPTED:
            wanted.append((-_weight(parameters), _ACCEPTED[kind.lower()]))
    return min(wanted, key=lambda each: each[0])[1] if wanted else "json"


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
