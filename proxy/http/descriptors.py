"""How many files this process may have open: each connection is one."""

import resource

SPARE = 64
"""For the ledger, logs, pipes, and what the runtime itself needs."""


def raise_limit() -> int:
    """Raise the limit to what the system lets us have; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def share_out(limit: int, clients: int, upstreams: int) -> tuple[int, int]:
    """Cut two numbers of connections down to what ``limit`` leaves room for.

    A request needs one of each, and idle clients none of the other: two thirds are the clients'.
    """
    room = max(limit - SPARE, 3)
    if clients + upstreams <= room:
        return clients, upstreams
    clients = min(clients, max(room * 2 // 3, room - upstreams))
    return clients, min(upstreams, room - clients)
