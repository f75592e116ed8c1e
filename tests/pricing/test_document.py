"""Good files are read as written; bad ones are refused with file, line, column, key and reason."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.book import PriceBook, Unpriced
from proxy.core.plans import BillingTime, Interval, Limits
from proxy.core.prices import ChargeModel, Price, Tier
from proxy.core.usage import Metric
from proxy.errors import PricingError
from proxy.pricing import document, parse, parse_adopted
from proxy.pricing.table import MAX_PROBLEMS
from tests.pricing.refusals import BAD

D = Decimal

DESIGN = """
currency = "USD"
package_size = 1_000_000        # prices are per this many tokens
rounding = "none"               # none: exact | up: whole started packages, per pool and period
unpriced = "flag"               # flag | reject (400 before anything is sent upstream)

[models."o1"]
match = ["o1-2024-*"]           # exact name > exact alias > glob with the longest literal
input = 15.00                   # uncached input
cached_input = 7.50             # omitted: charged as input
output = 60.00                  # includes reasoning

[models."gpt-4"]
match = ["gpt-4-0613", "8k"]
package_size = 1_000
input = 0.03
output = 0.06

[[models."o1".versions]]        # from then on; keys left out carry over
effective_from = 2026-12-01
input = 12.00

[models."gpt-5.4"]
input = 2.50
output = 15.00
long_context = { above = 272_000, input = 5.00, output = 22.50 }   # the whole request
service_tiers = { flex = 0.5, priority = 2.0 }                     # by the tier in the *response*

[models."gpt-4o"]
input = { price = 2.50, free_units = 100_000 }
output = { mode = "graduated", tiers = [{ up_to = 10_000_000, price = 10.00 }, { price = 8.00 }] }

[plans.pro]                     # a subscription names a plan; "default" is always there
interval = "monthly"
markup = 1.20
models."o1".output = 55.00      # final: not marked up
"""


def refusals(text: str) -> list[str]:
    with pytest.raises(PricingError) as caught:
        parse(text, "p.toml")
    return caught.value.message.splitlines()


def price_of(book: PriceBook, model: str, type_: str, version: int = 0) -> Price:
    return book.models[model].history.versions[version].table.prices[Metric.TOKENS, type_]


def test_the_designs_file() -> None:
    book = parse(DESIGN)
    assert (book.currency, book.timezone, book.unpriced) == ("USD", "UTC", Unpriced.FLAG)
    assert price_of(book, "o1", "input") == Price(price=D("15.00"), package_size=1_000_000)
    assert price_of(book, "gpt-4", "output") == Price(price=D("0.06"), package_size=1_000)
    later = book.models["o1"].history.versions[1]
    assert later.effective_from == datetime(2026, 12, 1, tzinfo=UTC)
    assert price_of(book, "o1", "input", 1).price == 12
    assert price_of(book, "o1", "cached_input", 1).price == D("7.5")
    assert price_of(book, "gpt-4o", "input").free_units == 100_000
    assert price_of(book, "gpt-4o", "output") == Price(
        price=None,
        package_size=1_000_000,
        mode=ChargeModel.GRADUATED,
        tiers=(Tier(up_to=10_000_000, price=D(10)), Tier(up_to=None, price=D(8))),
    )
    assert set(book.plans) == {"default", "pro"}
    pro = book.plans["pro"]
    assert (pro.markup, pro.interval, pro.billing_time) == (
        D("1.2"),
        Interval.MONTHLY,
        BillingTime.CALENDAR,
    )


def test_nothing_is_a_float_and_an_empty_file_is_fine() -> None:
    assert parse("") == PriceBook(plans=parse("").plans)
    assert parse("\ufeff# saved by Notepad\r\ncurrency = 'EUR'\r\n").currency == "EUR"
    assert str(parse("[models.m]\ninput = 0.1").models["m"].history.versions[0].table.prices[
        Metric.TOKENS, "input"].price) == "0.1"  # fmt: skip


def test_plans_are_held_whole() -> None:
    plan = parse("""
        currency = "EUR"
        [models.m]
        input = 1
        context_window = 128_000
        max_output = 16_384
        [plans.team]
        currency = "EUR"
        billing_time = "anniversary"
        assumed_output = 4_096
        allowed_models = ["m"]
        [plans.team.limits]
        spend_per_period = 100
        spend_per_day = 10.50
        spend_total = 1_000
        soft_thresholds = [0.8, 0.5]
        [plans.team.key_limits]
        requests_per_minute = 60
        tokens_per_minute = 100_000
        concurrent_requests = 8
        """).plans["team"]
    assert plan.billing_time is BillingTime.ANNIVERSARY
    assert (plan.assumed_output, plan.allowed_models) == (4_096, ("m",))
    assert plan.limits == Limits(
        spend_per_period=D(100),
        spend_per_day=D("10.5"),
        spend_total=D(1000),
        soft_thresholds=(D("0.5"), D("0.8")),
    )
    assert plan.key_limits == Limits(
        requests_per_minute=60, tokens_per_minute=100_000, concurrent_requests=8
    )


@pytest.mark.parametrize(
    ("timezone", "written", "moment"),
    [
        ("UTC", "2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("America/New_York", "2026-12-01", datetime(2026, 12, 1, 5, tzinfo=UTC)),
        ("America/New_York", "2026-12-01T00:15:00", datetime(2026, 12, 1, 5, 15, tzinfo=UTC)),
        ("America/New_York", "2026-12-01T06:45:00Z", datetime(2026, 12, 1, 6, 45, tzinfo=UTC)),
        ("UTC", "2026-12-01 06:45:00+05:45", datetime(2026, 12, 1, 1, tzinfo=UTC)),
    ],
)
def test_effective_from(timezone: str, written: str, moment: datetime) -> None:
    book = parse(f"""
        timezone = "{timezone}"
        [[models.m.versions]]
        effective_from = {written}
        input = 1
        """)
    assert [v.effective_from for v in book.models["m"].history.versions] == [moment]


def test_versions_carry_over_by_key_in_the_order_of_time() -> None:
    book = parse("""
        [models.m]
        input = 1
        output = 2
        long_context = { above = 100, input = 10, output = 20 }
        service_tiers = { flex = 0.5, priority = { input = 3, output = 4 }, batch = 0.5 }
        [[models.m.versions]]
        effective_from = 2027-02-01
        long_context = { above = 200, input = 12 }
        service_tiers = { priority = 2 }
        [[models.m.versions]]
        effective_from = 2027-01-01
        output = 5
        long_context = { above = 100, input = 11 }
        service_tiers.flex = 0.4
        service_tiers.priority = { input = 6, multiplier = 3 }
        service_tiers.batch = { input = 7 }
        service_tiers.new = { input = 8 }
        """)
    _, second, third = book.models["m"].history.versions
    tokens = Metric.TOKENS

    def plain(prices: object) -> dict[str, Decimal | None]:
        assert isinstance(prices, dict)
        return {key[1]: price.price for key, price in prices.items()}

    assert plain(second.table.prices) == {"input": 1, "output": 5}
    assert {a: plain(p) for a, p in second.table.classes.items()} == {
        100: {"input": 11, "output": 20}
    }
    assert second.tiers["flex"].multiplier == D("0.4")
    assert second.tiers["priority"].multiplier == 3
    assert plain(second.tiers["priority"].table.prices) == {"input": 6, "output": 4}
    assert second.tiers["batch"].multiplier is None
    assert second.tiers["batch"].table.prices[tokens, "input"].price == 7
    assert set(second.tiers) == {"flex", "priority", "batch", "new"}
    assert {a: plain(p) for a, p in third.table.classes.items()} == {200: {"input": 12}}
    assert (third.tiers["priority"].multiplier, third.tiers["priority"].table.prices) == (2, {})


@pytest.mark.parametrize(
    ("before", "after", "multiplier"),
    [
        ("0.5", "{ input = 1.90 }", None),
        ("0.5", "{ long_context = { above = 9, input = 1.90 } }", None),
        ("{ output = 3, multiplier = 0.5 }", "{ input = 1.90 }", None),
        ("0.5", "{ input = 1.90, multiplier = 0.4 }", "0.4"),
        ("{ input = 1.90 }", "0.4", "0.4"),
        ("0.5", "{ multiplier = 0.4 }", "0.4"),
    ],
)
def test_what_a_tier_s_table_leaves_out_costs_as_without_the_tier(
    before: str, after: str, multiplier: str | None
) -> None:
    text = f"""
        [models.m]
        input = 4
        output = 8
        long_context = {{ above = 9, input = 6 }}
        service_tiers.batch = {before}
        [[models.m.versions]]
        effective_from = 2026-12-01
        service_tiers.batch = {after}
        """
    later = parse(text).models["m"].history.versions[1].tiers["batch"]
    assert later.multiplier == (multiplier and D(multiplier))
    # Texts that were adopted when it was kept are read so for ever.
    then = parse_adopted(text, 1).models["m"].history.versions[1].tiers["batch"]
    assert then.multiplier == D(multiplier or "0.5")


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message for _, message in BAD])
def test_refusals(text: str, message: str) -> None:
    [told] = [line for line in refusals(text) if line.startswith(f"p.toml:{message}")]
    assert len(told) <= len(message) + 120


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    text = "[models.a]\ninput = -1\noutput = -1\n[plans.p]\nmarkup = 0\n[models.b]\ninput = true\n"
    assert [line.split(":")[1] for line in refusals(text)] == ["2", "3", "5", "7"]


def test_so_many_problems_and_no_more() -> None:
    told = refusals("[models.m]\n" + "\n".join(f"x{n} = 1" for n in range(80)))
    assert len(told) == MAX_PROBLEMS + 1
    assert told[-1] == "… and 31 more"


def test_a_problem_in_what_is_nested_too_deeply_to_find_is_on_line_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deep(_scanner: object) -> None:
        raise RecursionError

    monkeypatch.setattr("proxy.pricing.positions._Scanner.scan", deep)
    assert refusals("\n\nzzz = 1") == ["p.toml:1:1: zzz: unknown key"]


def test_a_file_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "TEXT_MAX", 10)
    assert refusals("# 345678901") == ["p.toml:1:1: the file is too long: over 10 characters"]


def test_a_tier_s_long_context_may_be_of_any_class_of_the_model() -> None:
    book = parse("""
        [models.m]
        input = 1
        long_context = { above = 100, input = 2 }
        service_tiers = { flex = { input = 0.5, long_context = { above = 200, input = 0.9 } } }
        [[models.m.versions]]
        effective_from = 2027-01-01
        service_tiers = { flex = { long_context = { above = 100, input = 1 } } }
        [[models.m.versions]]
        effective_from = 2027-02-01
        long_context = { above = 200, input = 3 }
        [plans.pro.models.m]
        input = 9
        service_tiers = { flex = { long_context = { above = 100, input = 8 } } }
        [[plans.pro.models.m.versions]]
        effective_from = 2027-01-01
        long_context = { above = 300, input = 7 }
        service_tiers = { flex = { long_context = { above = 300, input = 6 } } }
        """)
    model = book.models["m"]

    def price(month: int, above: int, plan: str = "default") -> Decimal | None:
        at = datetime(2026 + month // 12, month % 12 + 1, 15, tzinfo=UTC)
        quote = book.quote(
            model, Metric.TOKENS, "input", plan=plan, at=at, service_tier="flex", above=above
        )
        assert quote is not None
        return quote.price.price

    assert (price(11, 100), price(11, 200)) == (D("0.5"), D("0.9"))
    assert price(12, 100) == 1
    assert (price(11, 100, "pro"), price(12, 300, "pro")) == (8, 6)


PLACED = re.compile(r"p\.toml:(\d+):(\d+): \S", re.DOTALL)


@settings(max_examples=400)
@given(st.data())
def test_any_mutation_is_read_or_refused_with_a_line(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(DESIGN)))
    end = data.draw(st.integers(start, min(len(DESIGN), start + 40)))
    alphabet = st.sampled_from([*"[]{}=\"'.,#-\n\t 019eXinf_", "true", "input", "-1", "é"])
    middle = "".join(data.draw(st.lists(alphabet, max_size=6)))
    text = DESIGN[:start] + middle + DESIGN[end:]
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))]
    try:
        parse(text, "p.toml")
    except PricingError as error:
        lines = text.count("\n") + 1
        for line in error.message.splitlines():
            placed = PLACED.match(line)
            assert placed is not None
            assert 1 <= int(placed[1]) <= lines
