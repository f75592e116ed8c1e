"""What is folded costs what it cost, and there are only as many results as the book has words."""

from datetime import UTC, datetime
from itertools import product

import pytest

from proxy.core.book import PriceBook, Quote
from proxy.core.folding import Named, folded
from proxy.core.usage import Metric, TokenType
from proxy.pricing import parse

BOOK = parse("""
currency = "USD"
package_size = 1
[tool_calls]
web_search = 3
[models."gpt-4o"]
match = ["gpt-4o-*"]
input = 1
output = 2
service_tiers = { flex = 0.5, priority = { input = 4 } }
[models."painter"]
images = { "hd/1024x1024" = 8, "hd/*" = 7, "*/512x512" = 5, "*" = 4 }
[models."other-painter"]
images = { "other/*" = 9, "*" = 4 }
[plans.pro]
markup = 1.5
models."gpt-4o".input = 3
models."gpt-4o".service_tiers = { gold = { input = 7 } }
""")
NAMES = ["", "gpt-4o", "gpt-4o-1", "gpt-4o-2", "painter", "other-painter", "made-up-1", "made-up-2"]
TIERS = ["", "auto", "default", "fast", "flex", "gold", "made-up-1", "made-up-2", "other"]
IMAGES = ["hd/1024x1024", "hd/9x9", "mine/512x512", "mine/9x9", "other/9x9", "mine", "a/b/c", "*"]
TYPES = [
    *((Metric.TOKENS, kind) for kind in (*TokenType, "made-up")),
    *((Metric.TOOL_CALLS, kind) for kind in ("web_search", "made-up-1", "made-up-2")),
    *((Metric.IMAGES, kind) for kind in IMAGES),
    (Metric.CHARACTERS, ""),
]
ALL = [
    (metric, Named(model=model, model_requested=requested, service_tier=tier, type=kind))
    for model, requested, tier, (metric, kind) in product(NAMES, NAMES, TIERS, TYPES)
]


def quote(book: PriceBook, metric: Metric, named: Named, plan: str) -> Quote | None:
    entry = book.entry(named.model, named.model_requested)
    if entry is None:
        return None
    at = datetime(2026, 12, 1, tzinfo=UTC)
    tier = named.service_tier
    return book.quote(entry, metric, named.type, plan=plan, at=at, service_tier=tier)


@pytest.mark.parametrize("plan", ["default", "pro"])
def test_what_is_folded_costs_the_same(plan: str) -> None:
    for metric, named in ALL:
        before, after = (quote(BOOK, metric, n, plan) for n in (named, folded(BOOK, named)))
        facts = [
            q and (q.price, q.key, q.priced_as, q.source, q.multiplier) for q in (before, after)
        ]
        assert facts[0] == facts[1], named


def test_what_is_folded_stays_as_it_is() -> None:
    for _, named in ALL:
        once = folded(BOOK, named)
        assert folded(BOOK, once) == once


def test_made_up_words_are_one() -> None:
    of = [
        {
            folded(
                BOOK,
                Named(
                    model=f"{name}{n}",
                    model_requested=f"{name}{n}",
                    service_tier=f"tier-{n}",
                    type=f"type-{n}/size-{n}",
                ),
            )
            for n in range(10)
        }
        for name in ("gpt-4o-", "made-up-")
    ]
    assert [[tuple(named) for named in found] for found in of] == [
        [("gpt-4o", "", "other", "other/other")],
        [("other", "other", "other", "other/other")],
    ]


def test_no_glob_prices_what_is_unpriced() -> None:
    book = parse('currency = "USD"\npackage_size = 1\n[models."o1"]\nmatch = ["o*"]\ninput = 1\n')
    named = Named(model="x", model_requested="x", service_tier="default", type="input")
    found = folded(book, named)
    assert (found.model, found.model_requested) == ("", "")
