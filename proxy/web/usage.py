"""``/usage/…``: what a subscription used and owes, for its keys and for the operator."""

import hmac
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from proxy.billing.books import BookShelf
from proxy.billing.rated import usage_now
from proxy.core.book import PriceBook
from proxy.core.budgets import render_budget
from proxy.core.report import render
from proxy.core.subscriptions import key_digest
from proxy.core.times import to_us
from proxy.errors import BadRequestError, NotFoundError, UnauthorizedError
from proxy.http.exchange import Exchange
from proxy.http.render import respond_json
from proxy.ledger.port import Ledger
from proxy.web.configuration import BookInForce
from proxy.web.keys import KeyRing
from proxy.wire.headers import RequestHead, bearer_secret


async def current_usage_json(
    ledger: Ledger,
    book: PriceBook,
    subscription: str,
    now: datetime,
    shelf: BookShelf | None = None,
) -> dict[str, Any] | None:
    """Return current usage as ``GET /usage/current`` shows it; None: no such subscription."""
    usage = await usage_now(shelf or BookShelf(ledger), book, subscription, now)
    if usage is None:
        return None
    budget = render_budget(await ledger.limits(subscription), to_us(now))
    return render(usage, budget)


class UsageViews:
    """Answers ``/usage/…``."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        keys: KeyRing,
        books: BookInForce,
        admin_token: str | None,
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._keys = keys
        self._books = books
        self._admin_token = admin_token
        self._now = now

    async def current(self, exchange: Exchange) -> None:
        """``GET /usage/current``: of the key itself, or of any subscription for the operator."""
        subscription = await self.whose(exchange)
        usage = await current_usage_json(
            self._ledger, self._books.book, subscription, self._now(), self._books.shelf
        )
        if usage is None:
            raise NotFoundError(
                f"There is no subscription {subscription!r}. 'weighbridge subscriptions list' "
                "shows those that are."
            )
        respond_json(exchange, usage)

    def owner(self, head: RequestHead) -> Hashable:
        """Return in whose share a view is counted, without a look into the ledger."""
        secret = bearer_secret(head.fields)
        known = self._keys.known(secret)
        return key_digest(secret or b"") if known is None else known[1].subscription_id

    async def whose(self, exchange: Exchange) -> str:
        """Return whose usage is asked for, if who asks may see it.

        Errors: UnauthorizedError, BadRequestError, NotFoundError.
        """
        secret = bearer_secret(exchange.head.fields)
        if secret is None:
            raise UnauthorizedError(
                "No API key was sent. Send the key whose usage you want, or the admin token with "
                "?subscription=, in the header 'Authorization: Bearer <key>'."
            )
        asked = parse_qs(exchange.head.query).get("subscription")
        if self._is_admin(secret):
            if not asked:
                raise BadRequestError(
                    "Whose usage? Add ?subscription=<external id>.", param="subscription"
                )
            return asked[0]
        _, key = await self._keys.find(secret, again=True)
        if key is None:
            raise UnauthorizedError(
                "This key has no usage here. Use a key that has been used through this proxy, or "
                "one made with 'weighbridge keys create'."
            )
        if asked and asked[0] != key.subscription:
            raise NotFoundError(
                f"This key is of subscription {key.subscription!r}; others' usage needs the "
                "admin token."
            )
        return key.subscription

    def _is_admin(self, secret: bytes) -> bool:
        token = self._admin_token
        return token is not None and hmac.compare_digest(secret, token.encode())
