"""Volume: the tier that the whole quantity reaches prices all of it."""

from decimal import Decimal

from proxy.core.money import ratio
from proxy.core.prices import Price, Tier


def reached(price: Price, quantity: int) -> Tier:
    """Return the first tier that holds the quantity; the last has no end."""
    return next(t for t in price.tiers if t.up_to is None or quantity <= t.up_to)


def volume(price: Price, quantity: int) -> Decimal:
    """Rate a quantity at the price of the tier it reaches."""
    return ratio(reached(price, quantity).price * quantity, price.package_size)
