"""What an edit of ``pricing.toml`` must leave as it is, once there is usage.

Sums hold tokens, not money: by another currency all usage so far would be called dear or cheap at
one to one, and what comes late for a closed period would be charged in two currencies at once.
By another billing time, periods that run or have run would be drawn anew, and free units and tiers
begin anew in them.
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
    for code in used_plans:
        before, after = (book.plan(code).billing_time for book in (old, new))
        if before is not after:
            problems.add(
                ("plans", code, "billing_time"),
                f'usage on this plan is billed by periods that are "{before}", not "{after}", and '
                "they stay: write a plan of another name, and move subscriptions to it with "
                "'weighbridge subscriptions change-plan'",
            )
    return problems.message(text, source) if problems.found else None
