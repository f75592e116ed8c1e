"""Customers of passthrough keys are billed as everyone is: in the currency of the prices."""

from proxy.core.subscriptions import key_digest
from proxy.ledger.sqlite import SqliteLedger
from tests.ledger.calls import Caller, settlement
from tests.ledger.limited import BOOK, adopt


async def work(ledger: SqliteLedger, caller: Caller, secret: bytes) -> None:
    call = caller.call(digest=key_digest(secret))
    await ledger.open(call)
    assert await ledger.settle(settlement(call))


async def test_they_take_the_currency_of_the_book_in_force(
    ledger: SqliteLedger, caller: Caller
) -> None:
    await work(ledger, caller, b"before any book")
    await adopt(ledger, BOOK.replace("USD", "EUR"))
    await work(ledger, caller, b"in euros")
    await adopt(ledger, BOOK.replace("USD", "JPY"))
    await work(ledger, caller, b"in yen")
    made = sorted(await ledger.customers(), key=lambda customer: customer.id)
    assert [customer.currency for customer in made] == ["USD", "EUR", "JPY"]
