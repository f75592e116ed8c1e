"""Quantities as people read them: audio in seconds, everything else in whole units."""

from decimal import Decimal

from proxy.core.money import decimal_text, ratio
from proxy.core.usage import ATOMS_PER_SECOND, Metric


def shown_units(metric: Metric, quantity: int) -> int | str:
    """Return a quantity in its metric's unit: seconds are a decimal string, the rest integers."""
    if metric is Metric.AUDIO_SECONDS:
        return decimal_text(ratio(Decimal(quantity), ATOMS_PER_SECOND))
    return quantity


def grouped_units(metric: Metric, quantity: int) -> str:
    """Write a quantity in its metric's unit for a table: ``1,000,000``, or ``3,600.5`` seconds."""
    return f"{Decimal(shown_units(metric, quantity)):,f}"


def unit_name(metric: Metric) -> str:
    """Return what a quantity is counted in."""
    return "seconds" if metric is Metric.AUDIO_SECONDS else "units"
