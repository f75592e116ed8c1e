"""Graduated: each tier's price for the units that fall into it (Lago; Flexprice's slabs)."""

from decimal import Decimal

from proxy.core.money import ZERO, ratio
from proxy.core.prices import Price


def graduated(price: Price, quantity: int) -> Decimal:
    """Rate a quantity tier by tier; ``up_to`` is the last unit of its tier."""
    weighted = ZERO
    below = 0
    for tier in price.tiers:
        top = quantity if tier.up_to is None else min(quantity, tier.up_to)
        weighted += tier.price * max(0, top - below)
        below = top
    return ratio(weighted, price.package_size)
