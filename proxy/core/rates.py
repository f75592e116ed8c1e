"""How often something happens, of late."""


class RecentRate:
    """Counts over a window of at least ``window_s``: the rate is that of the last whole one.

    A silence is part of the window it falls in, so what follows it is rated low at once.
    """

    __slots__ = ("_counted", "_since_s", "_window_s", "per_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._since_s = 0.0
        self._counted = 0
        self.per_s = 0.0

    def count(self, number: int, now_s: float) -> None:
        """Count what happened since the last call; ``now_s`` is of any clock, never going back."""
        self._counted += number
        elapsed_s = now_s - self._since_s
        if elapsed_s >= self._window_s:
            self.per_s = self._counted / elapsed_s
            self._since_s, self._counted = now_s, 0
