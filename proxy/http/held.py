"""The request bodies in memory, counted in bytes: in total, and for each who sent them."""

from collections.abc import Hashable

from proxy.errors import RETRY_SOON, OverloadedError


class HeldBytes:
    """Counts bytes that are held; no holder may have more than half of ``limit``.

    What has arrived counts, not what was announced: an announcement costs its sender nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_holder: dict[Hashable, int] = {}
        self.total = 0

    def take(self, holder: Hashable, count: int) -> None:
        """Count bytes in; OverloadedError, and nothing, where there is no room."""
        self.expect(holder, count)
        self.total += count
        self._by_holder[holder] = self._by_holder.get(holder, 0) + count

    def expect(self, holder: Hashable, count: int) -> None:
        """Raise OverloadedError where there is no room for so many bytes now."""
        if self.total + count > self._limit:
            raise OverloadedError(
                f"The proxy holds {self.total:,} bytes of request bodies, and its limit is "
                f"{self._limit:,}. Try again soon, or have the operator raise "
                "PROXY_MAX_HELD_BYTES.",
                headers=RETRY_SOON,
            )
        if self._by_holder.get(holder, 0) + count > self._limit // 2:
            raise OverloadedError(
                "The request bodies of this subscription that the proxy holds would be more than "
                f"half of its limit of {self._limit:,} bytes. Send fewer at a time, or have the "
                "operator raise PROXY_MAX_HELD_BYTES.",
                headers=RETRY_SOON,
            )

    def give(self, holder: Hashable, count: int) -> None:
        """Count bytes out again."""
        self.total -= count
        left = self._by_holder[holder] - count
        if left:
            self._by_holder[holder] = left
        else:
            del self._by_holder[holder]
