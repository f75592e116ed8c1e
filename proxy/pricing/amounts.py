"""Prices as written: a number, or a table that says more.

``input = 2.50`` · ``input = { price = 2.50, free_units = 100_000 }`` ·
``output = { mode = "volume", tiers = [{ up_to = 10_000_000, price = 10.00 }, { price = 8.00 }] }``

What a number is the price of:

===================  =====================================================
token types          ``package_size`` tokens
``characters``       ``package_size`` characters
``tool_calls``       1,000 calls, by tool: ``{ web_search = 10.00 }``
``audio_seconds``    a second; ``{ price = 0.006, per = "minute" }`` or ``"hour"``
``images``           an image; by quality and size: ``{ "hd/1024x1024" = 0.08, "*" = 0.04 }``
``requests``         a request
===================  =====================================================
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from proxy.core.fallbacks import ANY
from proxy.core.money import ZERO
from proxy.core.prices import ChargeModel, Price, PriceKey, Tier
from proxy.core.usage import ATOMS_PER_SECOND, Metric, TokenType
from proxy.pricing.table import Table

PRICE_MAX = Decimal(1_000_000)
PACKAGE_MAX = 1_000_000_000
UNITS_MAX = 10**15

TOKEN_KEYS = tuple(token_type.value for token_type in TokenType)
METRIC_KEYS = tuple(metric.value for metric in Metric if metric is not Metric.TOKENS)
PRICE_KEYS = TOKEN_KEYS + METRIC_KEYS
ROUNDINGS = ("none", "up")

_PRICE_TABLE_KEYS = ("price", "free_units", "mode", "tiers", "package_size", "rounding")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_CALLS_PER_PACKAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for prices unless they say otherwise: package size and rounding.

    ``reading`` holds for the whole text.
    """

    package_size: int
    whole_packages: bool
    reading: int

    @property
    def first_reading(self) -> bool:
        """Whether the text is read as the first rules had it, by which it billed."""
        return self.reading == 1

    def of(self, table: Table) -> "Terms":
        """Return these terms as a table changes them."""
        size = table.integer("package_size", low=1, high=PACKAGE_MAX)
        rounding = table.choice("rounding", ROUNDINGS)
        return replace(
            self,
            package_size=self.package_size if size is None else size,
            whole_packages=self.whole_packages if rounding is None else rounding == "up",
        )

    def fixed(self, package_size: int) -> "Terms":
        """Return the terms of what has a package size of its own, whatever the file's is."""
        return replace(self, package_size=package_size, whole_packages=False)


def read_prices(
    table: Table, terms: Terms, keys: Iterable[str] = PRICE_KEYS
) -> dict[PriceKey, Price]:
    """Read every price of a table that is there and right."""
    prices: dict[PriceKey, Price] = {}
    for key in keys:
        if key in table:
            prices |= _READERS.get(key, _read_tokens)(table, key, terms)
    return prices


def read_price(table: Table, key: str, terms: Terms, atoms: int = 1) -> Price | None:
    """Read a price of ``terms.package_size`` units; one unit written is ``atoms`` units kept."""
    value = table.values[key]
    if isinstance(value, dict):
        return _read_table(Table(value, (*table.path, key), table.problems), terms, atoms)
    price = table.decimal(key, low=ZERO, high=PRICE_MAX)
    if price is None:
        return None
    size = terms.package_size * atoms
    return Price(price=price, package_size=size, whole_packages=terms.whole_packages)


def _read_table(table: Table, terms: Terms, atoms: int) -> Price | None:
    table.only(_PRICE_TABLE_KEYS)
    terms = terms.of(table)
    mode = table.choice("mode", (ChargeModel.GRADUATED.value, ChargeModel.VOLUME.value))
    price = table.decimal("price", low=ZERO, high=PRICE_MAX)
    free_units = table.integer("free_units", low=0, high=UNITS_MAX) or 0
    if "mode" in table or "tiers" in table:
        return _read_tiered(table, terms, mode, atoms)
    if price is None:
        if "price" not in table:
            table.problems.add(table.path, "needs a price, or mode and tiers")
        return None
    return Price(
        price=price,
        package_size=terms.package_size * atoms,
        free_units=free_units * atoms,
        whole_packages=terms.whole_packages,
    )


def _read_tiered(table: Table, terms: Terms, mode: str | None, atoms: int) -> Price | None:
    for key, instead in (("price", "in each tier"), ("free_units", "as a first tier at price 0")):
        if key in table:
            table.refuse(key, f"can't stand beside tiers: write it {instead}")
    if "mode" not in table:
        table.problems.add(table.path, 'tiers need a mode: "graduated" or "volume"')
    tiers = _read_tiers(table, atoms)
    if not tiers or mode is None:
        return None
    return Price(
        price=None,
        package_size=terms.package_size * atoms,
        whole_packages=terms.whole_packages,
        mode=ChargeModel(mode),
        tiers=tiers,
    )


def _read_tiers(table: Table, atoms: int) -> tuple[Tier, ...]:
    """Read tiers: ascending, each with a price, the last one and only that without ``up_to``."""
    rows = table.tables("tiers")
    if not rows:
        table.problems.add(table.path, "needs tiers: a list such as [{ up_to = 10, price = 2 }, …]")
    tiers = []
    below = 0
    for row in rows:
        row.only(("up_to", "price"))
        price = row.decimal("price", low=ZERO, high=PRICE_MAX)
        up_to = row.integer("up_to", low=1, high=UNITS_MAX)
        last = row is rows[-1]
        if last == ("up_to" in row):
            whose = "the last tier must not have" if last else "every tier but the last must have"
            table.problems.add((*row.path, "up_to"), f"{whose} an up_to")
        if up_to is not None and up_to <= below:
            row.refuse("up_to", f"must be more than the tier before: {up_to} after {below}")
        below = up_to or below
        if "price" not in row:
            table.problems.add(row.path, "needs a price")
        tiers.append(Tier(up_to=None if last else below * atoms, price=price or ZERO))
    return tuple(tiers)


def _read_tokens(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    return _keyed((Metric.TOKENS, key), read_price(table, key, terms))


def _read_characters(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    return _keyed((Metric.CHARACTERS, ""), read_price(table, key, terms))


def _read_requests(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    return _keyed((Metric.REQUESTS, ""), read_price(table, key, terms.fixed(1)))


def _read_seconds(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    """Read ``{ price, per }``; seconds are kept in microseconds."""
    value = table.values[key]
    if not isinstance(value, dict) or "per" not in value:
        price = read_price(table, key, terms.fixed(1), ATOMS_PER_SECOND)
        return _keyed((Metric.AUDIO_SECONDS, ""), price)
    inner = Table(value, (*table.path, key), table.problems)
    per = inner.choice("per", tuple(_SECONDS))
    if "package_size" in inner:
        inner.refuse("package_size", "can't stand beside per, which says it")
    terms = terms.fixed(_SECONDS.get(per or "", 1))
    rest = {k: v for k, v in value.items() if k not in {"per", "package_size"}}
    price = _read_table(Table(rest, inner.path, table.problems), terms, ATOMS_PER_SECOND)
    return _keyed((Metric.AUDIO_SECONDS, ""), price)


def _read_tools(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    tools = table.table(key)
    terms = terms.fixed(_CALLS_PER_PACKAGE)
    prices: dict[PriceKey, Price] = {}
    if tools is not None:
        for tool in tools.values:
            prices |= _keyed((Metric.TOOL_CALLS, tool), read_price(tools, tool, terms))
    return prices


def _read_images(table: Table, key: str, terms: Terms) -> dict[PriceKey, Price]:
    value = table.values[key]
    terms = terms.fixed(1)
    if not isinstance(value, dict) or "price" in value or "tiers" in value:
        return _keyed((Metric.IMAGES, ANY), read_price(table, key, terms))
    kinds = Table(value, (*table.path, key), table.problems)
    prices: dict[PriceKey, Price] = {}
    for kind in value:
        if kind != ANY and "/" not in kind:
            kinds.refuse(kind, 'must be quality/size such as "hd/1024x1024", "hd/*" or "*"')
        prices |= _keyed((Metric.IMAGES, kind), read_price(kinds, kind, terms))
    return prices


def _keyed(key: PriceKey, price: Price | None) -> dict[PriceKey, Price]:
    return {} if price is None else {key: price}


_READERS = {
    Metric.CHARACTERS.value: _read_characters,
    Metric.REQUESTS.value: _read_requests,
    Metric.AUDIO_SECONDS.value: _read_seconds,
    Metric.TOOL_CALLS.value: _read_tools,
    Metric.IMAGES.value: _read_images,
}
