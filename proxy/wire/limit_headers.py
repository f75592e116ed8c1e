"""What clients are told of their limits: OpenAI's rate-limit headers, and our budget's warning.

``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``: of each kind those with less left, the
upstream's own or ours.
"""

from math import ceil
from typing import Final

from proxy.core.allowances import Allowance, Rate
from proxy.core.money import decimal_text
from proxy.wire.headers import Headers

BUDGET: Final = b"x-weighbridge-budget"
_KINDS: Final = (b"requests", b"tokens")
_SHOWN: Final = 4
_MINUTE_S: Final = 60


def with_limits(headers: Headers, allowance: Allowance) -> Headers:
    """Return an answer's headers with ours, which replace the upstream's where they are tighter."""
    added: Headers = []
    dropped: set[bytes] = set()
    theirs = {
        name.lower(): value for name, value in headers if name[:12].lower() == b"x-ratelimit-"
    }
    for kind, rate in zip(_KINDS, (allowance.requests, allowance.tokens), strict=True):
        if rate is None or _is_tighter(theirs.get(b"x-ratelimit-remaining-" + kind), rate):
            continue
        mine = _rate_headers(kind, rate)
        added += mine
        dropped |= {name for name, _ in mine}
    if allowance.used is not None:
        used = decimal_text(round(allowance.used, _SHOWN)).encode()
        state = b"exhausted" if allowance.used >= 1 else b"warning"
        added.append((BUDGET, b"%b; used=%b" % (state, used)))
    kept = [pair for pair in headers if pair[0].lower() not in dropped] if dropped else headers
    return kept + added


def refusal_headers(
    retry_after_s: float | None, allowance: Allowance | None, *, final: bool
) -> Headers:
    """Return the headers of a refusal: when to ask again, or (``final``) that it is no use.

    OpenAI's SDKs look at ``retry-after-ms`` first, and retry a 429 by themselves unless
    ``x-should-retry`` says no.
    """
    headers: Headers = []
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(retry_after_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, ceil(retry_after_s * 1000))))
    elif final:
        headers.append((b"x-should-retry", b"false"))
    return headers if allowance is None else with_limits(headers, allowance)


def duration(reset_us: int) -> bytes:
    """Write a time until a reset as OpenAI does: ``12ms``, ``1.5s``, ``1m0.25s``.

    >>> duration(12_000), duration(1_500_000), duration(60_250_000)
    (b'12ms', b'1.5s', b'1m0.25s')
    """
    ms = -(-reset_us // 1000)
    if ms < 1000:
        return b"%dms" % ms
    minutes, seconds = divmod(ms / 1000, _MINUTE_S)
    text = f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{minutes:.0f}m{text}" if minutes else text).encode()


def _rate_headers(kind: bytes, rate: Rate) -> Headers:
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % rate.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % rate.remaining),
        (b"x-ratelimit-reset-" + kind, duration(rate.reset_us)),
    ]


def _is_tighter(remaining: bytes | None, ours: Rate) -> bool:
    """Whether the upstream says that less is left than we do."""
    return remaining is not None and remaining.isdigit() and int(remaining) < ours.remaining
