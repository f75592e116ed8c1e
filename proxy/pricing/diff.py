"""What an edit of ``pricing.toml`` changes, in words: one line a price and date."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from proxy.core.book import PriceBook
from proxy.core.money import decimal_text
from proxy.core.periods import zone
from proxy.core.plans import Limits, Plan
from proxy.core.prices import History, ModelPrices, Price, PriceTable
from proxy.core.usage import ATOMS_PER_SECOND, Metric

Facts: TypeAlias = dict[str, str]

USUAL_PACKAGE = 1_000_000
"""The package size that need not be said."""


def diff(old: PriceBook, new: PriceBook, on_plan: Mapping[str, int] | None = None) -> list[str]:
    """Return what differs: ``gpt-4o output 10.00 -> 9.00, from 2026-12-01``.

    Without a date it is so from ever, which reprices the open period. ``on_plan`` counts the
    subscriptions on each plan, where that is known: those on one that is removed lose its terms.
    """
    lines = list(_differences("", _book_facts(old), _book_facts(new)))
    for name in dict.fromkeys((*old.models, *new.models)):
        before, after = old.models.get(name), new.models.get(name)
        if before is None or after is None:
            lines.append(f"{name} {'removed' if after is None else 'added'}")
        else:
            lines += _differences(name, _model_facts(before), _model_facts(after))
            lines += _dated_differences(name, before.history, after.history, zone(new.timezone))
    for code in dict.fromkeys((*old.plans, *new.plans)):
        lines += _plan_differences(code, old.plans.get(code), new.plans.get(code), new.timezone)
        if code not in new.plans:
            lines[-1] += _left_behind(None if on_plan is None else on_plan.get(code, 0))
    return lines


def _left_behind(subscriptions: int | None) -> str:
    """Say what becomes of the subscriptions on a plan that is removed."""
    if subscriptions == 0:
        return "; no subscription is on it"
    count = "" if subscriptions is None else f" ({subscriptions:,})"
    return (
        f"; subscriptions on it{count} are billed as default, without its limits and allowed_models"
    )


def _plan_differences(
    code: str, old: Plan | None, new: Plan | None, timezone: str
) -> Iterator[str]:
    if old is None or new is None:
        yield f"plan {code} {'removed' if new is None else 'added'}"
        return
    yield from _differences(f"plan {code}", _plan_facts(old), _plan_facts(new))
    for name in dict.fromkeys((*old.own, *new.own)):
        before, after = (plan.own.get(name, History(versions=())) for plan in (old, new))
        yield from _dated_differences(f"plan {code} {name}", before, after, zone(timezone))


def _differences(subject: str, old: Facts, new: Facts, since: str = "") -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before != after:
            what = f"{subject} {key}".strip()
            yield f"{what} {before or 'none'} -> {after or 'none'}{since}"


def _dated_differences(
    subject: str, old: History, new: History, timezone: ZoneInfo
) -> Iterator[str]:
    """Compare what is in force from ever and from every date; tell each change where it begins."""
    told: set[str] = set()
    for moment in (None, *sorted({*old.dates, *new.dates})):
        since = "" if moment is None else f", from {date_text(moment, timezone)}"
        changes = list(_differences(subject, _prices_at(old, moment), _prices_at(new, moment)))
        yield from (f"{change}{since}" for change in changes if change not in told)
        told = set(changes)


def _prices_at(history: History, moment: datetime | None) -> Facts:
    facts: Facts = {}
    for version in history.versions:
        since = version.effective_from
        if since is not None and (moment is None or since > moment):
            break
        facts = dict(_table_facts("", version.table))
        for name, tier in version.tiers.items():
            if tier.multiplier is not None:
                facts[name] = f"{tier.multiplier} times the price"
            facts |= _table_facts(f"{name} ", tier.table)
    return facts


def _table_facts(prefix: str, table: PriceTable) -> Iterator[tuple[str, str]]:
    for (metric, type_), price in table.prices.items():
        yield prefix + key_text(metric, type_), price_text(metric, price)
    for above, prices in table.classes.items():
        for (metric, type_), price in prices.items():
            key = f"{prefix}{key_text(metric, type_)} above {above:_}"
            yield key, price_text(metric, price)


def key_text(metric: Metric, type_: str) -> str:
    """Write what has a price as the file does, nearly."""
    return type_ if metric is Metric.TOKENS else f"{metric} {type_}".strip()


def price_text(metric: Metric, price: Price) -> str:
    """Write a price, and what it is for where that is not a million."""
    atoms = ATOMS_PER_SECOND if metric is Metric.AUDIO_SECONDS else 1
    text = "" if price.price is None else decimal_text(price.price, 2)
    if price.mode is not None:
        tiers = (
            decimal_text(t.price, 2) + (f" up to {t.up_to // atoms:_}" if t.up_to else " beyond")
            for t in price.tiers
        )
        text = f"{price.mode} {', '.join(tiers)}"
    size = price.package_size // atoms
    if size != USUAL_PACKAGE:
        text += f" per {size:_}"
    if price.free_units:
        text += f" after {price.free_units // atoms:_} free"
    return f"{text} in whole packages" if price.whole_packages else text


def _book_facts(book: PriceBook) -> Facts:
    facts = {"currency": book.currency, "timezone": book.timezone, "unpriced": str(book.unpriced)}
    return facts | dict(_table_facts("every model ", book.everywhere))


def _model_facts(model: ModelPrices) -> Facts:
    return _present(
        match=", ".join(model.match),
        context_window=model.context_window,
        max_output=model.max_output,
    )


def _plan_facts(plan: Plan) -> Facts:
    allowed = plan.allowed_models
    return _present(
        interval=plan.interval,
        billing_time=plan.billing_time,
        markup=plan.markup,
        allowed_models="all" if allowed is None else ", ".join(allowed) or "none",
        assumed_output=plan.assumed_output,
        **_limit_facts("limits", plan.limits),
        **_limit_facts("key_limits", plan.key_limits),
    )


def _limit_facts(prefix: str, limits: Limits) -> Mapping[str, object]:
    facts = {name: getattr(limits, name) for name in Limits.__slots__}
    facts["soft_thresholds"] = ", ".join(str(part) for part in limits.soft_thresholds) or None
    return {f"{prefix}.{name}": value for name, value in facts.items()}


def _present(**facts: object) -> Facts:
    return {key: str(value) for key, value in facts.items() if value not in {None, ""}}


def date_text(moment: datetime, timezone: ZoneInfo) -> str:
    """Write a date alone where prices change at its midnight."""
    local = moment.astimezone(timezone)
    return f"{local:%Y-%m-%d}" if not (local.hour or local.minute) else f"{local:%Y-%m-%d %H:%M%z}"
