"""Which models pass, and what is said of usage without a price."""

import logging
from datetime import datetime, timedelta

import pytest

from proxy.core.usage import Measurement, RequestState, Usage
from proxy.pricing import parse
from proxy.web.model_gate import MEMO_LIMIT, ModelGate, ModelNotFoundError, ModelNotPricedError
from tests.core.rows import START
from tests.ledger.calls import usage

REJECT = parse(
    """
unpriced = "reject"
[models."gpt-4o"]
match = ["gpt-4o-2024-*"]
input = 1
[[models.later.versions]]
effective_from = 2026-12-01
input = 1
[plans.small]
allowed_models = ["gpt-4o"]
"""
)
FLAG = parse('[models."gpt-4o"]\ninput = 1')


class Books:
    """The book in force, to be exchanged."""

    def __init__(self, book: object) -> None:
        self.book = book


class Watch:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def gate(book: object, now: Watch | None = None) -> ModelGate:
    return ModelGate(Books(book), now or Watch())  # type: ignore[arg-type]


def key(plan: str) -> object:
    from proxy.core.subscriptions import ApiKey  # noqa: PLC0415 - here alone

    return ApiKey(id=1, prefix="wb-", name=None, subscription_id=1, subscription="a", plan=plan)


def measured(model: str | None, **tokens: int) -> Measurement:
    used = usage(**tokens)
    return Measurement(
        state=RequestState.EXACT, usage=Usage(quantities=used.quantities, model=model)
    )


def test_priced_models_pass_by_every_name() -> None:
    doors = gate(REJECT)
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o"):
        doors.admit(None, model)


def test_a_model_without_price_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ModelNotPricedError) as caught:
        gate(REJECT).admit(None, "gpt-4oo")
    assert caught.value.status == 400
    assert caught.value.code == "model_not_priced"
    assert "`gpt-4oo`" in caught.value.message
    assert "gpt-4o" in caught.value.message.removeprefix("The model `gpt-4oo`")


def test_prices_that_have_not_begun_are_none() -> None:
    now = Watch()
    doors = gate(REJECT, now)
    with pytest.raises(ModelNotPricedError, match="has no price here"):
        doors.admit(None, "later")
    now.now += timedelta(days=40)
    doors.admit(None, "later")
    now.now -= timedelta(days=40)
    with pytest.raises(ModelNotPricedError):
        doors.admit(None, "later")


def test_a_model_that_the_plan_does_not_allow_is_none() -> None:
    doors = gate(REJECT)
    doors.admit(key("small"), "gpt-4o")  # type: ignore[arg-type]
    with pytest.raises(ModelNotFoundError) as caught:
        doors.admit(key("small"), "gpt-4")  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert caught.value.message.startswith(
        "The model `gpt-4` does not exist or you do not have access to it."
    )


def test_flagged_models_pass_and_new_prices_are_looked_at() -> None:
    books = Books(FLAG)
    doors = ModelGate(books, Watch())  # type: ignore[arg-type]
    doors.admit(None, "anything")
    books.book = REJECT
    with pytest.raises(ModelNotPricedError):
        doors.admit(None, "anything")


def test_names_do_not_pile_up() -> None:
    doors = gate(FLAG)
    for number in range(MEMO_LIMIT + 10):
        doors.admit(None, f"model-{number}")
        doors.note(f"model-{number}", measured(f"model-{number}", input=1))
    assert len(doors._open) <= MEMO_LIMIT
    assert len(doors._priced) <= MEMO_LIMIT
    assert len(doors._warned) <= MEMO_LIMIT


def test_unpriced_usage_is_told_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = Watch()
    doors = gate(FLAG, now)
    with caplog.at_level(logging.WARNING, "weighbridge"):
        for _ in range(3):
            doors.note("new", measured("new-2026", input=1))
        doors.note("gpt-4o", measured("gpt-4o", input=1))
        doors.note("gpt-4o", measured("unheard-of", input=1))
        doors.note("new", measured("new-2026"))
        now.now += timedelta(hours=1)
        doors.note("new", measured("new-2026", input=1))
    assert len(caplog.messages) == 2
    assert "'new-2026' has no price" in caplog.messages[0]
