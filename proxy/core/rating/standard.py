"""Standard: every unit costs its part of the price, exactly. It is additive over any parts."""

from decimal import Decimal

from proxy.core.money import ZERO, ratio
from proxy.core.prices import Price


def paid_units(price: Price, quantity: int) -> int:
    """Return the units beyond the free ones; never negative."""
    return max(0, quantity - price.free_units)


def standard(price: Price, quantity: int) -> Decimal:
    """Rate a quantity by unit: ``(quantity - free_units) * price / package_size``."""
    return ratio((price.price or ZERO) * paid_units(price, quantity), price.package_size)
