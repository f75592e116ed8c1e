"""Limits as people see them: what is spent, reserved and left, and when it begins anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.core.allowances import Rate, allowance, part_used
from proxy.core.limits import Caps, LimitState, Spend, Window, reset_text
from proxy.core.money import EXACT, ZERO, decimal_text

_SHOWN = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStanding:
    """Where a subscription (``prefix`` None) or a key stands; ``overrides``: set by operators.

    ``assumed_output`` is what the plan takes for the output of requests that set no limit to it.
    """

    subscription: str
    prefix: str | None
    plan: str
    caps: Caps
    overrides: dict[str, Any]
    state: LimitState
    assumed_output: int | None


def no_room(standings: Sequence[LimitStanding]) -> str | None:
    """Return why a session may not go on, or None: it may.

    What is reserved is the most that its next answer may cost, so that there must be room for.
    """
    for standing in standings:
        for window, most in standing.caps.spends:
            for spend in standing.state.spends:
                taken = EXACT.add(spend.spent, spend.reserved)
                if spend.window is window and taken > most:
                    whose = standing.subscription if standing.prefix is None else standing.prefix
                    return (
                        f"{whose} has used {decimal_text(spend.spent, 2)} of its spend limit of "
                        f"{decimal_text(most, 2)} ({window}): the session ends."
                    )
    return None


def render_budget(standings: Sequence[LimitStanding], now_us: int) -> dict[str, Any] | None:
    """Return the ``budget`` of current usage: the subscription's, and its limited keys'.

    None where nothing is limited. The first standing is the subscription's.
    """
    if not standings:
        return None
    whole = [render_standing(one, now_us) for one in standings if one.prefix is None]
    keys = [render_standing(one, now_us) for one in standings if one.prefix is not None]
    return (whole[0] if whole else {}) | ({"keys": keys} if keys else {})


def render_standing(standing: LimitStanding, now_us: int) -> dict[str, Any]:
    """Return one owner's limits and where it stands; money is decimal strings."""
    caps, state = standing.caps, standing.state
    limits = caps.limits
    told = allowance(state, caps, now_us)
    rendered: dict[str, Any] = {} if standing.prefix is None else {"key": standing.prefix}
    if caps.spends:
        rendered["state"] = _state(standing)
        rendered["spend"] = {
            window.value: _render_spend(spend, most)
            for window, most in caps.spends
            for spend in state.spends
            if spend.window is window
        }
        rendered["soft_thresholds"] = [decimal_text(part) for part in limits.soft_thresholds]
        rendered["exceeded_reservations"] = state.overruns
        rendered["assumed_output"] = standing.assumed_output
    if told.requests is not None:
        rendered["requests_per_minute"] = _render_rate(told.requests)
    if told.tokens is not None:
        rendered["tokens_per_minute"] = _render_rate(told.tokens)
    if limits.concurrent_requests is not None:
        rendered["concurrent_requests"] = {
            "limit": limits.concurrent_requests,
            "running": state.running,
        }
    return rendered


def _state(standing: LimitStanding) -> str:
    """Return ``ok``, ``warning`` (a soft threshold is reached) or ``exhausted``."""
    used = part_used(standing.state, standing.caps) or ZERO
    soft = standing.caps.limits.soft_thresholds
    if used >= 1:
        return "exhausted"
    return "warning" if soft and used >= soft[0] else "ok"


def _render_spend(spend: Spend, most: Decimal) -> dict[str, Any]:
    taken = EXACT.add(spend.spent, spend.reserved)
    used = EXACT.divide(spend.spent, most) if most else Decimal(1)
    ends = None if spend.window is Window.TOTAL else reset_text(spend)
    return {
        "limit": decimal_text(most, 2),
        "spent": decimal_text(spend.spent, 2),
        "reserved": decimal_text(spend.reserved, 2),
        "remaining": decimal_text(max(ZERO, EXACT.subtract(most, taken)), 2),
        "used": decimal_text(used.quantize(_SHOWN, context=EXACT)),
        "resets_at": ends,
    }


def _render_rate(rate: Rate) -> dict[str, int]:
    return {"limit": rate.limit, "remaining": rate.remaining, "reset_ms": -(-rate.reset_us // 1000)}
