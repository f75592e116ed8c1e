"""``pricing.toml``: text in, price book out, or every problem with its place.

``document`` is the way in. ``table`` reads values and collects what is wrong; ``positions`` finds
the line and column of a key, which :mod:`tomllib` does not tell; ``amounts``, ``models`` and
``plans`` read their parts of the file; ``diff`` says in words what an edit changes, ``lasting``
what it must not, ``hidden`` which prices it covers with others; ``watch`` waits for one.
"""

from proxy.pricing.diff import diff
from proxy.pricing.document import parse, parse_adopted
from proxy.pricing.hidden import hidden_prices
from proxy.pricing.lasting import refuse_change

__all__ = ["diff", "hidden_prices", "parse", "parse_adopted", "refuse_change"]
