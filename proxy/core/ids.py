"""Request ids: 63 bits, ordered by time, unique over all workers, readable as text.

41 bits of milliseconds since 2020, 10 of the worker's number, 12 of a sequence (the well-known
"snowflake" layout): they stay small keys in any database, and new rows land at the index's end.
As text: ``wb_`` and 13 characters of Crockford's base 32, which sort like the numbers.
"""

EPOCH_MS = 1_577_836_800_000
WORKER_SLOTS = 1 << 10
SEQUENCE_SLOTS = 1 << 12
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_LENGTH = 13
PREFIX = "wb_"


class RequestIds:
    """Makes the ids of one worker; a clock that goes back never makes one twice."""

    def __init__(self, worker: int) -> None:
        self._worker = (worker % WORKER_SLOTS) << 12
        self._last = 0

    def make(self, now_ms: int) -> int:
        """Return the next id at ``now_ms`` (milliseconds of Unix time)."""
        tick = (now_ms - EPOCH_MS) << 12
        self._last = tick if tick > self._last else self._last + 1
        return (self._last >> 12 << 22) | self._worker | (self._last & SEQUENCE_SLOTS - 1)


def to_text(request_id: int) -> str:
    """Write an id as clients and operators see it."""
    n, pairs = request_id, _PAIRS
    return (
        f"{PREFIX}{_DIGITS[n >> 60]}{pairs[n >> 50 & 1023]}{pairs[n >> 40 & 1023]}"
        f"{pairs[n >> 30 & 1023]}{pairs[n >> 20 & 1023]}{pairs[n >> 10 & 1023]}{pairs[n & 1023]}"
    )


def from_text(text: str) -> int:
    """Read an id back; ``ValueError`` if it is none."""
    body = text.removeprefix(PREFIX).lower()
    if len(body) != _LENGTH or not set(body) <= _VALUES.keys():
        msg = f"{text!r} is not a request id: expected {PREFIX} and {_LENGTH} letters and digits"
        raise ValueError(msg)
    value = 0
    for digit in body:
        value = value << 5 | _VALUES[digit]
    return value
