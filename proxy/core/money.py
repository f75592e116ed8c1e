"""Exact money: decimals that never lose a digit, rounded only where a rule says so."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from decimal import (
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)

PLACES = 30
"""Decimal places kept where a quotient does not end (a price per 3,600 seconds, say)."""

EXACT = Context(
    prec=80, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow]
)
"""Wide enough that sums and products of real prices and quantities are exact."""

ZERO = Decimal(0)
ONE = Decimal(1)

_FINEST = Decimal(1).scaleb(-PLACES)

# ISO 4217: the currencies whose smallest unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_MINOR_DIGITS = dict.fromkeys(_WHOLE.split(), 0) | dict.fromkeys(_THOUSANDTHS.split(), 3)


def exact() -> AbstractContextManager[Context]:
    """Return the context manager in which amounts are computed."""
    return localcontext(EXACT)


def minor_digits(currency: str) -> int:
    """Return the decimal places of a currency's smallest unit: 2 for ``USD`` (ISO 4217)."""
    return _MINOR_DIGITS.get(currency, 2)


def ratio(amount: Decimal, divisor: int) -> Decimal:
    """Divide, exactly if the quotient ends within :data:`PLACES` decimal places."""
    quotient = EXACT.divide(amount, Decimal(divisor))
    exponent = quotient.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PLACES:
        return quotient.quantize(_FINEST, context=EXACT)
    return quotient


def total(amounts: Sequence[Decimal]) -> Decimal:
    """Sum without rounding."""
    with exact():
        return sum(amounts, ZERO)


def half_up(amount: Decimal, digits: int) -> Decimal:
    """Round to ``digits`` decimal places, a half away from zero, as invoices do."""
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=EXACT)


def apportion(amounts: Sequence[Decimal], whole: Decimal, digits: int) -> list[Decimal]:
    """Round amounts so that they add up to ``whole``, their sum rounded (largest remainder).

    Each is cut to ``digits`` places; what is then missing goes, one smallest unit each, to the
    largest remainders, the first of equals first. No amount may be negative.
    """
    unit = Decimal(1).scaleb(-digits)
    cut = [amount.quantize(unit, ROUND_FLOOR, context=EXACT) for amount in amounts]
    with exact():
        missing = int((whole - sum(cut, ZERO)) / unit)
        order = sorted(range(len(cut)), key=lambda index: cut[index] - amounts[index])
        for index in order[:missing]:
            cut[index] += unit
    return cut


def decimal_text(amount: Decimal, at_least: int = 0) -> str:
    """Write an amount in full, without exponent, with no needless zeros past ``at_least`` places.

    >>> decimal_text(Decimal("0.001280"), 2), decimal_text(Decimal("15"), 2)
    ('0.00128', '15.00')
    """
    text = f"{amount:f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0").ljust(at_least, "0")
    return f"{whole}.{fraction}" if fraction else whole
