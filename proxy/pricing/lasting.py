"""What an edit of ``pricing.toml`` must leave as it is, once there is usage.

Sums hold tokens, not money: by another currency all usage so far would be called dear or cheap at
one to one, and what comes late for a closed period would be charged in two currencies at once.
"""

from collections.abc import Collection

from proxy.core.book import PriceBook
from proxy.pricing.table import Problems


def refuse_change(
    old: PriceBook, new: PriceBook, used_plans: Collection[str], text: str, source: str
) -> str | None:
    """Return why ``new`` can't follow ``old``: ``file:line:column: key: reason``; None: it can.

    ``used_plans`` are those that anything was used on; ``text`` is what ``new`` was read from.
    """
    problems = Problems()
    if used_plans and new.currency != old.currency:
        problems.add(
            ("currency",),
            f"usage is in the ledger, and is billed in {old.currency}, not {new.currency}: write "
            f'currency = "{old.currency}" again, or bill in {new.currency} from a ledger of its '
            "own (PROXY_DATABASE_URL)",
        )
    return problems.message(text, source) if problems.found else None
