"""The whole of ``pricing.toml``.

What the same text means is numbered (:data:`proxy.core.book.READING`), and the ledger keeps the
number with each text that it adopts: closed periods are billed by what it meant then. By the
first, a plan's own prices did not have their model's terms, and a tier's table in a later version
kept the factor before it. A change that makes another book of some text, or refuses one that was
fine, takes a new number and leaves the older readings as they are.
"""

import re
import tomllib
from decimal import Decimal, DecimalException
from typing import Any

from proxy.core.book import READING, PriceBook, Unpriced
from proxy.core.periods import zone
from proxy.core.prices import PriceTable
from proxy.errors import PricingError
from proxy.pricing.amounts import Terms, read_prices
from proxy.pricing.models import Dates, read_models
from proxy.pricing.plans import read_plans
from proxy.pricing.positions import line_and_column
from proxy.pricing.table import Problems, Table

TEXT_MAX = 4_000_000
"""Characters that a file may have: hundreds of times the shipped one."""

DEPTH_MAX = 20
"""Brackets within brackets that a price could possibly need, many times over."""

_ROOT_KEYS = (
    "currency", "package_size", "rounding", "unpriced", "timezone", "tool_calls", "models", "plans",
)  # fmt: skip
_CURRENCY = re.compile(r"[A-Z]{3}")
_LONG_NUMBER = re.compile(r"[0-9_]{1000,}|[0-9][eE][+-]?[0-9_]{9,}")
_BRACKET = re.compile(r"[\[\]{}]")
_PLACE = re.compile(r" \((?:at line (\d+), column (\d+)|at end of document)\)$")


def parse(text: str, source: str = "pricing.toml") -> PriceBook:
    """Read a price book by today's rules; raise :class:`PricingError` with a line for each problem.

    ``source`` names the file in messages: ``pricing.toml:12:1: models.o1.input: must not be
    negative: -3``.
    """
    return _parse(text, source, READING)


def parse_adopted(text: str, reading: int) -> PriceBook:
    """Read a text that the ledger has adopted, by the rules that it was adopted with.

    Errors: :class:`PricingError`, as :func:`parse`.
    """
    return _parse(text, "the price book in force", reading)


def _parse(text: str, source: str, reading: int) -> PriceBook:
    # An editor's byte order mark is not the operator's mistake.
    text = text.removeprefix("\ufeff")
    problems = Problems()
    root = Table(_load(text, source), (), problems)
    book = read_book(root, reading)
    if problems.found:
        raise PricingError(problems.message(text, source))
    return book


def read_book(root: Table, reading: int) -> PriceBook:
    """Read the document's tables; what is wrong is in ``root.problems``."""
    root.only(_ROOT_KEYS)
    terms = Terms(package_size=1_000_000, whole_packages=False, reading=reading).of(root)
    currency = _currency(root)
    timezone = _timezone(root)
    dates = Dates(timezone=timezone)
    models, terms_of = read_models(root, terms, dates)
    if terms.first_reading:
        terms_of = {}
    return PriceBook(
        currency=currency,
        timezone=timezone,
        unpriced=Unpriced(root.choice("unpriced", tuple(Unpriced)) or Unpriced.FLAG),
        models=models,
        plans=read_plans(root, models, lambda name: terms_of.get(name, terms), dates, currency),
        everywhere=PriceTable(prices=read_prices(root, terms, ("tool_calls",))),
    )


def _currency(root: Table) -> str:
    currency = root.text("currency") or "USD"
    if not _CURRENCY.fullmatch(currency):
        root.refuse("currency", f'must be an ISO 4217 code such as "USD", not {currency!r}')
    return currency


def _timezone(root: Table) -> str:
    timezone = root.text("timezone") or "UTC"
    try:
        zone(timezone)
    except ValueError as error:
        root.refuse("timezone", str(error))
        return "UTC"
    return timezone


def _load(text: str, source: str) -> dict[str, Any]:
    """Read TOML; what it says of a mistake comes with its place."""
    if len(text) > TEXT_MAX:
        raise PricingError(f"{source}:1:1: the file is too long: over {TEXT_MAX:_} characters")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        place = _PLACE.search(reason)
        where = "{}:{}".format(*line_and_column(text, len(text)))
        if place is not None and place[1]:
            where = f"{place[1]}:{place[2]}"
        reason = _PLACE.sub("", reason)
        raise PricingError(f"{source}:{where}: not valid TOML: {reason}") from None
    except RecursionError:
        reason, offset = "tables or lists nested too deeply", _nested_at(text)
    except (DecimalException, ValueError):
        number = _LONG_NUMBER.search(text)
        reason, offset = "a number with too many digits", number.start() if number else 0
    line, column = line_and_column(text, offset)
    raise PricingError(f"{source}:{line}:{column}: not valid TOML: {reason}")


def _nested_at(text: str) -> int:
    """Return where brackets are first nested absurdly deep, taking text for what it seems."""
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEPTH_MAX:
            return bracket.start()
    return 0
