"""Play runs by hand: ``python -m tests.simulation SEED [LAST SEED]``."""

import sys

from tests.simulation.play import play

if __name__ == "__main__":
    first = int(sys.argv[1])
    for seed in range(first, int(sys.argv[-1]) + 1):
        problem = play(seed)
        if problem is not None:
            print(problem)  # noqa: T201 - it is what this is for
