"""Rating: price book and usage in, amounts out; pure. One rule a file.

``standard``, ``package``, ``graduated`` and ``volume`` each turn a quantity into an amount by one
charge model; ``order`` says in which order what is applied, and rates a period; ``explain`` tells
the same story for one request.
"""

from proxy.core.rating.explain import Explanation, PricedRequest, Step, explain
from proxy.core.rating.order import Line, PoolKey, pool_quantities, rate, windows

__all__ = [
    "Explanation",
    "Line",
    "PoolKey",
    "PricedRequest",
    "Step",
    "explain",
    "pool_quantities",
    "rate",
    "windows",
]
