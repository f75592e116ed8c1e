"""How many answers are read on for clients that left, by whom they are paid."""

from collections.abc import Hashable


class Drains:
    """Counts running drains; each subscription may have so many, so that none fills the proxy."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_owner: dict[Hashable, int] = {}

    @property
    def running(self) -> int:
        """How many there are."""
        return sum(self._by_owner.values())

    def enter(self, owner: Hashable) -> bool:
        """Count one in; False where its owner has as many as it may."""
        running = self._by_owner.get(owner, 0)
        if running >= self._limit:
            return False
        self._by_owner[owner] = running + 1
        return True

    def leave(self, owner: Hashable) -> None:
        """Count one out."""
        left = self._by_owner[owner] - 1
        if left:
            self._by_owner[owner] = left
        else:
            del self._by_owner[owner]
