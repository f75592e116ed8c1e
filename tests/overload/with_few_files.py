"""``weighbridge serve`` with few open files allowed, and no bound of its own below that."""

import resource
import sys

from proxy import app
from proxy.__main__ import main

if __name__ == "__main__":
    few = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    app.share_out = lambda limit, clients, upstreams: (clients, upstreams)  # type: ignore[attr-defined]
    sys.exit(main(["serve"]))
