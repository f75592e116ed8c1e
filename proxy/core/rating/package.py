"""Package: every started package costs its whole price.

As Lago's package charge on the period's total: ``ceil((units - free_units) / package_size)``
packages, in whole numbers, so that no float can lose one.
"""

from decimal import Decimal

from proxy.core.money import ZERO
from proxy.core.prices import Price
from proxy.core.rating.standard import paid_units


def started_packages(quantity: int, package_size: int) -> int:
    """Count the packages that a quantity has started."""
    return -(-quantity // package_size)


def package(price: Price, quantity: int) -> Decimal:
    """Rate a quantity by whole started packages."""
    return (price.price or ZERO) * started_packages(paid_units(price, quantity), price.package_size)
