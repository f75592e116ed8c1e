"""Which models a plan may use, and what is said of those that have no price."""

import logging
from collections.abc import Callable
from datetime import datetime

from proxy.core.book import PriceBook, Unpriced
from proxy.core.plans import DEFAULT_PLAN
from proxy.core.reservations import MODEL_NOT_NAMED, not_named
from proxy.core.subscriptions import ApiKey
from proxy.core.usage import Measurement
from proxy.errors import ClientError, NotFoundError, ProxyError
from proxy.web.configuration import BookInForce
from proxy.wire.request import RequestFacts

MEMO_LIMIT = 4096
"""Pairs of plan and model remembered: models' names come from clients, so they must not pile up."""
WARN_EVERY_S = 3600.0
_LONGEST_NAME = 100
log = logging.getLogger("weighbridge")


class ModelNotFoundError(NotFoundError):
    """The caller's plan does not have this model: for the caller, there is none."""

    code = "model_not_found"


class ModelNotPricedError(ClientError):
    """The operator wants no usage that has no price."""

    code = "model_not_priced"


class ModelNotNamedError(ClientError):
    """The upstream would choose models, and the caller may not use every one."""

    code = MODEL_NOT_NAMED


class ModelGate:
    """Lets requests through by their model, and warns of usage that has no price."""

    def __init__(self, books: BookInForce, now: Callable[[], datetime]) -> None:
        self._books = books
        self._now = now
        self._book: PriceBook | None = None
        self._open: set[tuple[str, str]] = set()
        self._priced: dict[tuple[str | None, str], bool] = {}
        self._warned: dict[str, float] = {}

    def admit(self, key: ApiKey | None, model: str, member: str = "model") -> None:
        """Let a request for a model pass; what passed once, passes until the prices change.

        ``member`` of the request names it.

        Errors: ModelNotFoundError, ModelNotPricedError.
        """
        plan = DEFAULT_PLAN if key is None else key.plan
        if self._books.book is not self._book:
            self._forget()
        if (plan, model) in self._open:
            return
        book = self._books.book
        error = refusal(book, plan, model, self._now(), member)
        if error is not None:
            raise error
        if len(self._open) >= MEMO_LIMIT:
            self._open.clear()
        if not _begins_later(book, model):
            self._open.add((plan, model))

    def admit_others(self, key: ApiKey | None, facts: RequestFacts) -> None:
        """Let the models pass that a request names besides its own.

        Errors: ModelNotNamedError, and those of :meth:`admit`.
        """
        book = self._books.book
        some = book.plan(DEFAULT_PLAN if key is None else key.plan).allowed_models is not None
        if not some and book.unpriced is not Unpriced.REJECT:
            return
        for other in facts.others():
            if not other.model:
                why = "this key may use some models only" if some else "some have no price here"
                raise ModelNotNamedError(not_named(other.member, why), param=other.member)
            self.admit(key, other.model, other.member)

    def note(self, requested: str, measurement: Measurement) -> None:
        """Say that a request's usage has no price: once an hour for each model."""
        usage = measurement.usage
        if not usage.quantities:
            return
        if self._books.book is not self._book:
            self._forget()
        names = usage.model, requested
        priced = self._priced.get(names)
        if priced is None:
            if len(self._priced) >= MEMO_LIMIT:
                self._priced.clear()
            priced = self._priced[names] = self._books.book.match(*names) is not None
        if not priced:
            self._warn(usage.model or requested)

    def _warn(self, model: str) -> None:
        now_s = self._now().timestamp()
        if now_s - self._warned.get(model, float("-inf")) < WARN_EVERY_S:
            return
        if len(self._warned) >= MEMO_LIMIT:
            self._warned.clear()
        self._warned[model] = now_s
        near = _nearest(self._books.book, model)
        log.warning(
            "usage of %.*r has no price, and is in no amount: give it one in pricing.toml%s",
            _LONGEST_NAME,
            model,
            f" (there is {near})" if near else "",
        )

    def _forget(self) -> None:
        self._book = self._books.book
        self._open.clear()
        self._priced.clear()


def refusal(
    book: PriceBook, plan: str, model: str, at: datetime, member: str = "model"
) -> ProxyError | None:
    """Return why a plan may not use a model; None: it may."""
    shown = model[:_LONGEST_NAME]
    if not book.allows(plan, model):
        return ModelNotFoundError(
            f"The model `{shown}` does not exist or you do not have access to it. GET /v1/models "
            "lists models; ask the operator which of them your plan has.",
            param=member,
        )
    if book.unpriced is Unpriced.REJECT:
        found = book.entry(model, None)
        if found is None or found.history.at(at) is None:
            near = _nearest(book, model)
            return ModelNotPricedError(
                f"The model `{shown}` has no price here, so it can't be used. "
                + (f"Did you mean {near}? Otherwise ask" if near else "Ask")
                + " the operator to give it a price.",
                param=member,
            )
    return None


def _begins_later(book: PriceBook, model: str) -> bool:
    """Tell whether a model's prices begin at some moment: then each request is looked at."""
    found = book.entry(model, None)
    return found is not None and found.history.versions[0].effective_from is not None


def _nearest(book: PriceBook, model: str) -> str:
    return " or ".join(book.nearest(model[:_LONGEST_NAME]))
