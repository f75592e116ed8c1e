"""The worst case: the most that a request can cost, before it is sent.

What bounds a request is in :class:`Bounds`. Its input is no more tokens than its body has bytes
(a token of text is at least a byte), and no more than the model's context window for each prompt
that it brings (embeddings and completions take lists of them); the windows alone, where the body
refers to something or brings something that is no text. Its output is no more than the limit that
it sets; without one, the plan's ``assumed_output``, the model's ``max_output`` or its window,
whichever is found first. Both are priced at the dearest that could be: of the types of tokens it
can use, the tiers it allows, and the context classes it can reach.

Where something had to be assumed the reservation may be too small: the plan's ``assumed_output``,
tools that the upstream runs without a limit to their number (and the models that they call), a
model of which neither window nor output limit is known. So may it be for ``volume`` prices whose
later tiers are dearer: passing into one makes earlier usage dearer, too.

Whole packages: each type may start one more than its part of the quantity.

Requests that differ in their length and their output limit alone cost in proportion to the two:
what was worked out for one of them holds for its like (:class:`_Alike`).
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from proxy.core.book import PriceBook
from proxy.core.dearest import Entry, Terms, Ways, entry_of
from proxy.core.limits import FOREVER_US
from proxy.core.money import EXACT, ZERO
from proxy.core.times import EPOCH, to_us
from proxy.core.usage import tokens_by_length

ASSUMED_OUTPUT = 16_384
"""Output tokens, where nothing at all is known of the model."""
ASSUMED_WINDOW = 128_000
ASSUMED_TOOL_CALLS = 10
MODEL_NOT_NAMED = "model_not_named"
"""The code of :func:`not_named`."""

LONGEST_NAMES = 256
"""Of a model and a tier: what is longer is not remembered, or clients could fill the memory."""
_MEMORY = 4096
_ANY = FOREVER_US
"""As much as there may be: of time, and of bytes."""
_add = EXACT.add
_fma = EXACT.fma


class Other(NamedTuple):
    """A model that a request names besides its own, in ``member``; ``""``: it can't be known.

    It takes the place of the request's own model, with its own limit of output if it has one; or
    the answer calls it as a ``tool``, up to so many ``uses`` (0: not said).
    """

    model: str
    member: str
    output_limit: int | None = None
    tool: bool = False
    uses: int = 0


class Bounds(NamedTuple):
    """What a request can use at most, as its own words bound it.

    ``free`` requests are not billed at all. ``referenced``: it brings or names what its length
    does not bound (ids, URLs, images, files). ``outputs`` is the number of answers that
    ``output_limit`` (None: not set) holds for; 0 where there is no output. ``tool_calls`` are
    those that the upstream runs itself; None: any number. ``media`` and ``long_cache``: kinds of
    tokens other than plain text, or that are cached for long, may be used. ``prompts``: how many
    texts there are at most that each have a context window of their own.

    ``others`` may be used as well, each on top of what was used before it: a model that declines
    may have been billed, and what a tool's model uses is no part of the answer's own.

    The order of members matters: it is made by position, and requests are alike where all but the
    first two members are.
    """

    body_bytes: int = 0
    output_limit: int | None = None
    model: str = ""
    free: bool = False
    referenced: bool = False
    outputs: int = 1
    service_tier: str | None = None
    media: bool = False
    long_cache: bool = False
    tool_calls: int | None = 0
    images: int = 0
    characters: int = 0
    audio_us: int = 0
    prompts: int = 1
    others: tuple[Other, ...] = ()


FREE = Bounds(free=True, outputs=0)


class _Alike(NamedTuple):
    """What requests cost at most that differ in their length and their output limit alone.

    It holds for ``least_bytes`` to ``most_bytes`` of body, from ``since_us`` until ``until_us``;
    ``fixed`` is what depends on neither.
    """

    byte_price: Decimal
    output_price: Decimal
    fixed: Decimal
    outputs: int
    output_each: int
    least_bytes: int
    most_bytes: int
    since_us: int
    until_us: int


class _Input(NamedTuple):
    """Input tokens at most, for bodies of so many bytes; ``grows``: as many as these."""

    tokens: int
    grows: bool
    least_bytes: int
    most_bytes: int


class Reserver:
    """Computes worst cases by one price book, and remembers what it found."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._entries: dict[tuple[str, str], Entry] = {}
        self._terms: dict[tuple[object, ...], Terms] = {}
        self._alike: dict[tuple[str, tuple[object, ...]], _Alike] = {}

    def reserve(self, plan: str, bounds: Bounds, at_us: int) -> Decimal | None:
        """Return the most that a request accepted at ``at_us`` can cost; None: it has no price.

        A model that the book does not know has none, nor has a part of the usage without price.
        """
        body_bytes, limit = bounds[:2]
        alike = self._alike.get((plan, bounds[2:]))
        if alike is not None:
            byte_price, output_price, fixed, outputs, each, least, most, since_us, until_us = alike
            out = (each if limit is None else limit) * outputs
            holds = least <= body_bytes <= most and since_us <= at_us < until_us
            if holds and (out or not outputs):
                return _fma(output_price, out, _fma(byte_price, body_bytes, fixed))
        if bounds.others:
            return self._reserve_all(plan, bounds, at_us)
        if bounds.free:
            return ZERO
        if len(bounds.model) + len(bounds.service_tier or "") > LONGEST_NAMES:
            return Reserver(self._book)._work_out(plan, bounds, at_us)  # noqa: SLF001 - its like
        return self._work_out(plan, bounds, at_us)

    def unpriced(self, plan: str, bounds: Bounds, at_us: int) -> Other | None:
        """Return which other model has no price; None where it is the request's own."""
        for other in bounds.others:
            if not other.model or self.reserve(plan, _alone(bounds, other), at_us) is None:
                return other
        return None

    def _reserve_all(self, plan: str, bounds: Bounds, at_us: int) -> Decimal | None:
        """Return the most that a request and all models that it names can cost together."""
        total = self.reserve(plan, bounds._replace(others=()), at_us)
        for other in bounds.others:
            more = self.reserve(plan, _alone(bounds, other), at_us) if other.model else None
            if total is None or more is None:
                return None
            total = _add(total, more)
        return total

    def _work_out(self, plan: str, bounds: Bounds, at_us: int) -> Decimal | None:
        entry = self._entry(plan, bounds.model)
        if entry is None:
            return None
        into = _input(entry, bounds)
        terms = self._terms_of(plan, entry, bounds, into.tokens, at_us)
        each = _output_each(entry)
        limit = bounds.output_limit
        out = (each if limit is None else limit) * bounds.outputs
        input_, output = terms.input, terms.output
        unpriced = input_.price is None or (out and output.price is None)
        if unpriced and not _priced_otherwise(terms, bounds):
            return None
        fixed = _add(_others(terms, bounds), input_.packages)
        byte_price, output_price = input_.price or ZERO, ZERO
        if not into.grows:
            fixed, byte_price = _fma(byte_price, into.tokens, fixed), ZERO
        if out:
            fixed, output_price = _add(fixed, output.packages), output.price or ZERO
        if out or not bounds.outputs:
            if len(self._alike) >= _MEMORY:
                self._alike.clear()
            self._alike[plan, bounds[2:]] = _Alike(
                byte_price, output_price, fixed, bounds.outputs, each,
                into.least_bytes, into.most_bytes, *_between(entry.dates, at_us),
            )  # fmt: skip
        return _fma(output_price, out, _fma(byte_price, bounds.body_bytes, fixed))

    def _entry(self, plan: str, name: str) -> Entry | None:
        key = plan, name
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= _MEMORY:
                self._entries.clear()
            model = self._book.entry(name, None)
            if model is not None:
                entry = self._entries[key] = entry_of(self._book, plan, model)
        return entry

    def _terms_of(
        self, plan: str, entry: Entry, bounds: Bounds, input_tokens: int, at_us: int
    ) -> Terms:
        epoch = bisect_right(entry.dates, EPOCH + timedelta(microseconds=at_us))
        reached = bisect_right(entry.classes, input_tokens - 1)
        tier, media, long_cache = bounds.service_tier, bounds.media, bounds.long_cache
        key = plan, entry.model.name, epoch, reached, tier, media, long_cache
        terms = self._terms.get(key)
        if terms is None:
            if len(self._terms) >= _MEMORY:
                self._terms.clear()
            at = EPOCH + timedelta(microseconds=at_us)
            ways = Ways(self._book, plan, entry, at, tier, reached)
            terms = self._terms[key] = ways.terms(media=media, long_cache=long_cache)
        return terms


def expected_tokens(bounds: Bounds) -> int:
    """Return what a rate limit takes a request for: text by length, output by the limit set."""
    return tokens_by_length(bounds.body_bytes) + (bounds.output_limit or 0) * bounds.outputs


def nearest_names(book: PriceBook, model: str) -> str:
    """Return what an unpriced model may be meant to be: ``", such as gpt-4o"``, or ``""``."""
    names = book.nearest(model)
    return f", such as {', '.join(names)}" if names else ""


def not_named(member: str, why: str) -> str:
    """Say that a member lets an upstream choose models, which a caller may not do; and why not."""
    return (
        f"{member!r} leaves open which models are used, and {why}. Name each of them in a list, or "
        f"leave {member!r} out."
    )


def _alone(bounds: Bounds, other: Other) -> Bounds:
    """Return what bounds another model that a request names."""
    if not other.tool:
        # Who goes by the entry's limit, and who by the request's, is not known.
        own, limit = other.output_limit, bounds.output_limit
        limit = None if limit is None else max(limit, own or 0)
        return bounds._replace(model=other.model, output_limit=limit, others=())
    uses = other.uses or bounds.tool_calls or 1
    return bounds._replace(
        model=other.model,
        output_limit=other.output_limit,
        referenced=True,  # it reads what the answer has come to, not only the body
        outputs=uses,
        media=True,
        tool_calls=0,
        images=uses,
        prompts=bounds.prompts * uses,
        others=(),
    )


def _input(entry: Entry, bounds: Bounds) -> _Input:
    """Return the input tokens at most, as often as they may be read."""
    window, length = entry.model.context_window, bounds.body_bytes
    most = None if window is None else window * bounds.prompts
    turns = 1 + (bounds.tool_calls or 0)
    if bounds.referenced or bounds.tool_calls != 0:
        if most is not None:
            return _Input(most * turns, grows=False, least_bytes=0, most_bytes=_ANY)
        tokens = max(length, ASSUMED_WINDOW * bounds.prompts) * turns
        return _Input(tokens, grows=False, least_bytes=length, most_bytes=length)
    if most is not None and length >= most:
        return _Input(most, grows=False, least_bytes=most, most_bytes=_ANY)
    reached = bisect_right(entry.classes, length - 1)
    ends = [end for end in (*entry.classes[reached : reached + 1], most) if end is not None]
    least = entry.classes[reached - 1] + 1 if reached else 0
    return _Input(length, grows=True, least_bytes=least, most_bytes=min(ends, default=_ANY))


def _output_each(entry: Entry) -> int:
    """Return the output tokens of an answer at most, where the request sets no limit."""
    if entry.assumed_output is not None:
        return entry.assumed_output
    return entry.model.max_output or entry.model.context_window or ASSUMED_OUTPUT


def _between(dates: Sequence[datetime], at_us: int) -> tuple[int, int]:
    """Return the times around a moment between which nothing of the book changes."""
    epoch = bisect_right(dates, EPOCH + timedelta(microseconds=at_us))
    since_us = to_us(dates[epoch - 1]) if epoch else 0
    return since_us, to_us(dates[epoch]) if epoch < len(dates) else _ANY


def _others(terms: Terms, bounds: Bounds) -> Decimal:
    """Return the most that everything but tokens can cost."""
    calls = bounds.tool_calls
    amount = ZERO
    others = (
        (terms.request, 1),
        (terms.tool_call, ASSUMED_TOOL_CALLS if calls is None else calls),
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
