"""``weighbridge serve`` with a supervisor that can be made hasty, and workers that fail to start.

Usage: supervisor_at_hand [MARGIN_S [FAILURES]]: kill workers MARGIN_S after the grace time; let
the first FAILURES workers fail at their start.
"""

import sys
from itertools import count

from proxy import supervisor
from proxy.__main__ import main
from proxy.errors import LedgerUnavailableError
from proxy.settings import Settings


def run(margin_s: str = "0.5", failures: str = "0") -> int:
    supervisor.KILL_MARGIN_S = float(margin_s)
    forks = count(1)
    fork, work = supervisor.Supervisor._fork, supervisor.work

    def counted(keeper: supervisor.Supervisor) -> None:
        next(forks)
        fork(keeper)

    def failing(settings: Settings, port: int, lifeline: int, report: int) -> int:
        if next(forks) - 2 < int(failures):
            supervisor._say(report, b"no good reason")
            return 1
        return work(settings, port, lifeline, report)

    supervisor.Supervisor._fork = counted  # type: ignore[method-assign,assignment]
    supervisor.work = failing
    return main(["serve"])


if __name__ == "__main__":
    try:
        sys.exit(run(*sys.argv[1:]))
    except LedgerUnavailableError:
        sys.exit(1)
