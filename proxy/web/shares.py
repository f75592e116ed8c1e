"""What one client may have of the proxy, so that it can't starve the others."""

from collections.abc import Callable, Hashable
from ipaddress import IPv6Address, ip_address

from proxy.errors import RETRY_SOON, OverloadedError, ProxyError

MAX_ADDRESSES = 10_000
"""How many addresses are remembered; the one that was heard of longest ago is forgotten first."""
FAILURES_A_MINUTE = 60
_MINUTE_US = 60_000_000
_NETWORK_BITS = 64


class TooManyRequestsError(ProxyError):
    """This client has its share already; others may go on."""

    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"


class OpenShares:
    """Counts running requests, in total and by subscription; 0: no bound of one's own."""

    def __init__(self, limit: int, share: int) -> None:
        self._limit = limit
        self._share = share
        self._by_owner: dict[Hashable, int] = {}
        self.total = 0

    def enter(self) -> None:
        """Count a request in, whoever's it is; OverloadedError where there is no room."""
        self.total += 1
        if self.total > self._limit:
            raise OverloadedError(
                f"The proxy is serving {self._limit:,} requests, its limit. Try again soon, or "
                "have the operator raise PROXY_MAX_OPEN_REQUESTS.",
                headers=RETRY_SOON,
            )

    def leave(self, owner: Hashable | None) -> None:
        """Count a request out; ``owner`` None: it was never :meth:`claim`-ed."""
        self.total -= 1
        if owner is None or not self._share:
            return
        left = self._by_owner[owner] - 1
        if left:
            self._by_owner[owner] = left
        else:
            del self._by_owner[owner]

    def claim(self, owner: Hashable) -> None:
        """Count a request as its owner's; TooManyRequestsError where that is over the share."""
        if not self._share:
            return
        running = self._by_owner.get(owner, 0)
        if running >= self._share:
            raise TooManyRequestsError(
                f"{running:,} requests of this subscription are running, its share of the proxy. "
                "Wait for one to end, or have the operator raise "
                "PROXY_MAX_OPEN_REQUESTS_PER_SUBSCRIPTION.",
                headers=RETRY_SOON,
            )
        self._by_owner[owner] = running + 1


class Stranger:
    """The running requests of one address with one key that nobody had seen to work."""

    __slots__ = ("_paid", "_strangers", "_works", "running", "who")

    def __init__(self, strangers: "Strangers", who: tuple[str, bytes]) -> None:
        self._strangers = strangers
        self._paid = True
        self._works = False
        self.running = 0
        self.who = who

    def welcome(self) -> None:
        """The upstream likes the key: give back what was taken for it."""
        if not self._works:
            self._works = True
            if self._paid:
                self._strangers.refund(self.who[0])

    def leave(self) -> None:
        """One of the requests has ended; it failed, if the key was not welcome by then."""
        if not self._works:
            if not self._paid:
                self._strangers.owe(self.who[0])
            self._paid = False
        self._strangers.leave(self)


class Strangers:
    """Keys that nobody has seen to work: each address may fail with them so often a minute.

    Who guesses needs another key for each guess: what runs at a time with the same one takes from
    its address's allowance once, and at once, so that many keys at a time are counted, too. The
    upstream's liking puts it back; otherwise each further failure is taken when it is known.
    """

    def __init__(
        self, clock_us: Callable[[], int], failures_a_minute: int = FAILURES_A_MINUTE
    ) -> None:
        self._clock_us = clock_us
        self._most = failures_a_minute
        self._left: dict[str, tuple[float, int]] = {}
        self._running: dict[tuple[str, bytes], Stranger] = {}

    def enter(self, address: str, digest: bytes) -> Stranger:
        """Count a request in; TooManyRequestsError where its address's allowance is used up."""
        network = _network(address)
        who = (network, digest)
        stranger = self._running.get(who)
        now_us = self._clock_us()
        left, seen_us = self._left.pop(network, (float(self._most), now_us))
        refilled = max(0, now_us - seen_us) / _MINUTE_US * self._most
        left = min(float(self._most), left + refilled)
        if len(self._left) >= MAX_ADDRESSES:
            del self._left[next(iter(self._left))]
        if left < (1 if stranger is None else 0):
            self._left[network] = (left, now_us)
            raise TooManyRequestsError(
                "Too many requests with API keys that the upstream does not accept came from "
                "this address. Check the key, and try again in a minute.",
                headers=((b"retry-after", b"%d" % (60 // self._most + 1)),),
            )
        self._left[network] = (left if stranger else left - 1, now_us)
        if stranger is None:
            stranger = self._running[who] = Stranger(self, who)
        stranger.running += 1
        return stranger

    def leave(self, stranger: Stranger) -> None:
        """Count a request out."""
        stranger.running -= 1
        if not stranger.running:
            del self._running[stranger.who]

    def refund(self, network: str) -> None:
        """Put back what a key took: it works."""
        if network in self._left:
            left, seen_us = self._left[network]
            self._left[network] = (min(float(self._most), left + 1), seen_us)

    def owe(self, network: str) -> None:
        """Take a failure that was not paid for, of what is yet to come if need be."""
        if network in self._left:
            left, seen_us = self._left[network]
            self._left[network] = (max(-float(self._most), left - 1), seen_us)

    @property
    def remembered(self) -> int:
        """How many addresses are remembered."""
        return len(self._left)

    @property
    def running(self) -> int:
        """How many keys of addresses run requests."""
        return len(self._running)


def _network(address: str) -> str:
    """Return what one client has to itself: an IPv4 address, or a /64 of IPv6."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return hex(int(parsed) >> _NETWORK_BITS)
