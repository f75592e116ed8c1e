"""What is counted together where it can't be told apart any more: by what prices it.

Clients choose names, so not each of them can be kept for ever. The price book's own words are few:
a name becomes that of the entry that prices it, and every other word that the book does not name
becomes one word, since no price depends on it. So nothing costs more or less than before.
"""

from collections.abc import Iterator
from typing import NamedTuple

from proxy.core.book import PriceBook
from proxy.core.prices import DEFAULT_TIER, ModelPrices, PriceTable, Version, canonical_tier
from proxy.core.usage import RequestState, TokenType

OTHER = "other"
_OURS = frozenset({"", *map(str, TokenType), *map(str, RequestState)})


class Named(NamedTuple):
    """What is named by others than us: by clients, and by upstreams."""

    model: str
    model_requested: str
    service_tier: str
    type: str


def folded(book: PriceBook, named: Named) -> Named:
    """Return what to count it as: as many results as the book has words, each priced alike.

    A model that no entry prices becomes ``other``; that there is no name stays so.
    """
    entry = book.entry(named.model, named.model_requested)
    tier = canonical_tier(named.service_tier)
    tiers, words = _words(book, entry)
    model, requested = _unpriced(book, named) if entry is None else (entry.name, "")
    # Images are priced by quality, by size, or by both: what names neither word names no pair.
    first, slash, second = named.type.partition("/")
    return Named(
        model=model,
        model_requested=requested,
        service_tier=tier if tier in tiers else _spare(tiers),
        type=f"{_word(first, words)}{slash}{_word(second, words)}",
    )


def _unpriced(book: PriceBook, named: Named) -> tuple[str, str]:
    """Return names that nothing prices, either: a glob may fit even ``other``."""
    if not (named.model or named.model_requested) or book.entry(OTHER, None):
        return "", ""
    return OTHER, OTHER


def _words(book: PriceBook, entry: ModelPrices | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return all tiers, and all types and their parts, that may decide an entry's prices."""
    versions = () if entry is None else tuple(_versions(book, entry))
    tables = [book.everywhere, *(table for version in versions for table in _tables(version))]
    types = {
        type_
        for table in tables
        for prices in (table.prices, *table.classes.values())
        for _, type_ in prices
    }
    return (
        frozenset({DEFAULT_TIER}).union(*(version.tiers for version in versions)),
        _OURS.union(*(type_.partition("/")[::2] for type_ in types)),
    )


def _versions(book: PriceBook, entry: ModelPrices) -> Iterator[Version]:
    yield from entry.history.versions
    for plan in book.plans.values():
        if entry.name in plan.own:
            yield from plan.own[entry.name].versions


def _tables(version: Version) -> Iterator[PriceTable]:
    yield version.table
    yield from (tier.table for tier in version.tiers.values())


def _word(word: str, words: frozenset[str]) -> str:
    return word if word in words else _spare(words)


def _spare(words: frozenset[str]) -> str:
    """Return a word that is not among them."""
    spare = OTHER
    while spare in words:
        spare += "-"
    return spare
