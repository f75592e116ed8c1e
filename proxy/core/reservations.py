"""The worst case: the most that a request can cost, before it is sent.

What bounds a request is in :class:`Bounds`. Its input is no more tokens than its body has bytes
(a token of text is at least a byte), and no more than the model's context window; the window
alone, where the body refers to something or brings something that is no text. Its output is no
more than the limit that it sets; without one, the plan's ``assumed_output``, the model's
``max_output`` or its window, whichever is found first. Both are priced at the dearest that could
be: of the types of tokens it can use, the tiers it allows, and the context classes it can reach.

Where something had to be assumed the reservation may be too small, and says so (``assumed``): the
plan's ``assumed_output``, tools that the upstream runs without a limit to their number, a model of
which neither window nor output limit is known. So may it be for ``volume`` prices whose later
tiers are dearer: passing into one makes earlier usage dearer, too.

Whole packages: each type may start one more than its part of the quantity.
"""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from proxy.core.book import PriceBook
from proxy.core.dearest import Entry, Terms, Ways, entry_of
from proxy.core.money import EXACT, ZERO

ASSUMED_OUTPUT = 16_384
"""Output tokens, where nothing at all is known of the model."""
ASSUMED_WINDOW = 128_000
ASSUMED_TOOL_CALLS = 10
BYTES_PER_TOKEN = 4
"""What a rate limit on tokens takes text for, until the truth is known."""

_MEMORY = 4096
_NO_MEASURES = (0, 0, 0)
_add = EXACT.add
_fma = EXACT.fma
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bounds(NamedTuple):
    """What a request can use at most, as its own words bound it.

    ``free`` requests are not billed at all. ``referenced``: it brings or names what its length
    does not bound (ids, URLs, images, files). ``outputs`` is the number of answers that
    ``output_limit`` (None: not set) holds for; 0 where there is no output. ``tool_calls`` are
    those that the upstream runs itself; None: any number. ``media`` and ``long_cache``: kinds of
    tokens other than plain text, or that are cached for long, may be used.
    """

    model: str = ""
    free: bool = False
    body_bytes: int = 0
    referenced: bool = False
    outputs: int = 1
    output_limit: int | None = None
    service_tier: str | None = None
    media: bool = False
    long_cache: bool = False
    tool_calls: int | None = 0
    images: int = 0
    characters: int = 0
    audio_us: int = 0


FREE = Bounds(free=True, outputs=0)


class Reservation(NamedTuple):
    """The most that a request can cost; ``assumed``: it rests on a guess."""

    amount: Decimal
    assumed: bool


class Reserver:
    """Computes worst cases by one price book, and remembers what it found for each model."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._entries: dict[tuple[str, str], Entry] = {}
        self._terms: dict[tuple[object, ...], Terms] = {}

    def reserve(self, plan: str, bounds: Bounds, at_us: int) -> Reservation | None:
        """Return the worst case of a request accepted at ``at_us``; None: it has no price.

        A model that the book does not know has none, nor has a part of the usage without price.
        """
        if bounds.free:
            return Reservation(ZERO, assumed=False)
        entry = self._entry(plan, bounds.model)
        if entry is None:
            return None
        into, out, calls, turns, assumed = _sizes(entry, bounds)
        into *= turns
        terms = self._terms_of(plan, entry, bounds, into, at_us)
        input_, output = terms.input, terms.output
        unpriced = input_.price is None or (out and output.price is None)
        if unpriced and not _priced_otherwise(terms, bounds):
            return None
        amount = ZERO
        if input_.price is not None:
            amount = _fma(input_.price, into, input_.packages)
        if out and output.price is not None:
            if output.packages:
                amount = _add(amount, output.packages)
            amount = _fma(output.price, out, amount)
        if calls or terms.request.price is not None or bounds[-3:] != _NO_MEASURES:
            amount = _add(amount, _others(terms, bounds, calls))
        return Reservation(amount, assumed)

    def _entry(self, plan: str, name: str) -> Entry | None:
        key = plan, name
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= _MEMORY:
                self._entries.clear()
            model = self._book.match(name, None)
            if model is not None:
                entry = self._entries[key] = entry_of(self._book, plan, model)
        return entry

    def _terms_of(
        self, plan: str, entry: Entry, bounds: Bounds, input_tokens: int, at_us: int
    ) -> Terms:
        epoch = reached = 0
        if entry.dates:
            epoch = bisect_right(entry.dates, _EPOCH + timedelta(microseconds=at_us))
        if entry.classes:
            reached = bisect_right(entry.classes, input_tokens - 1)
        tier, media, long_cache = bounds[6:9]
        key = plan, entry.model.name, epoch, reached, tier, media, long_cache
        terms = self._terms.get(key)
        if terms is None:
            if len(self._terms) >= _MEMORY:
                self._terms.clear()
            at = _EPOCH + timedelta(microseconds=at_us)
            ways = Ways(self._book, plan, entry, at, tier, reached)
            terms = self._terms[key] = ways.terms(media=media, long_cache=long_cache)
        return terms


def expected_tokens(bounds: Bounds) -> int:
    """Return what a rate limit takes a request for: text by length, output by the limit set."""
    return -(-bounds.body_bytes // BYTES_PER_TOKEN) + (bounds.output_limit or 0) * bounds.outputs


def nearest_names(book: PriceBook, model: str) -> str:
    """Return what an unpriced model may be meant to be: ``", such as gpt-4o"``, or ``""``."""
    names = book.nearest(model)
    return f", such as {', '.join(names)}" if names else ""


def _sizes(entry: Entry, bounds: Bounds) -> tuple[int, int, int, int, bool]:
    """Return tokens in and out, calls of tools, how often the input may be read, and assumed."""
    assumed = False
    window = entry.model.context_window
    hosted = bounds.tool_calls != 0
    if not bounds.referenced and not hosted:
        input_tokens = bounds.body_bytes if window is None else min(bounds.body_bytes, window)
    elif window is not None:
        input_tokens = window
    else:
        input_tokens, assumed = max(bounds.body_bytes, ASSUMED_WINDOW), True
    each = bounds.output_limit
    if bounds.outputs and each is None:
        each = entry.assumed_output
        assumed = assumed or each is not None
        if each is None:
            each = entry.model.max_output or window
        if each is None:
            each, assumed = ASSUMED_OUTPUT, True
    calls = bounds.tool_calls
    turns = 1 if calls is None else 1 + calls
    if calls is None:
        calls, assumed = ASSUMED_TOOL_CALLS, True
    return input_tokens, (each or 0) * bounds.outputs, calls, turns, assumed


def _others(terms: Terms, bounds: Bounds, tool_calls: int) -> Decimal:
    """Return the most that everything but tokens can cost."""
    amount = ZERO
    others = (
        (terms.request, 1),
        (terms.tool_call, tool_calls),
        (terms.image, bounds.images),
        (terms.character, bounds.characters),
        (terms.audio_us, bounds.audio_us),
    )
    for unit, quantity in others:
        if quantity and unit.price is not None:
            amount = _add(amount, _fma(unit.price, quantity, unit.packages))
    return amount


def _priced_otherwise(terms: Terms, bounds: Bounds) -> bool:
    """Whether what has no price by tokens is priced by what it is measured in instead."""
    measured = (
        (terms.image, bounds.images),
        (terms.character, bounds.characters),
        (terms.audio_us, bounds.audio_us),
    )
    return any(quantity and unit.price is not None for unit, quantity in measured)
