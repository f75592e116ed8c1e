"""Many seeds: whatever happens, every upstream truth is in the ledger once.

A seed that fails is printed; ``WEIGHBRIDGE_SEED=n`` plays it alone, as does
``python -m tests.simulation n``.
"""

import os
import random

import pytest

from tests.simulation.play import Size, play

SHORT = Size(clients=6, seconds=8.0)
BATCHES = 10
SEEDS_IN_BATCH = 120
SOAK_SEEDS = 20_000


def seeds(first: int, count: int) -> range:
    alone = os.environ.get("WEIGHBRIDGE_SEED")
    return range(int(alone), int(alone) + 1) if alone else range(first, first + count)


def test_nothing_goes_wrong_where_nothing_does() -> None:
    for seed in seeds(0, 20):
        assert play(seed, Size(clients=10, seconds=5.0, faults=False)) is None


@pytest.mark.parametrize("batch", range(BATCHES))
def test_short_runs(batch: int) -> None:
    for seed in seeds(batch * SEEDS_IN_BATCH, SEEDS_IN_BATCH):
        assert (problem := play(seed, SHORT)) is None, problem


def test_long_runs() -> None:
    for seed in seeds(1_000_000, 20):
        assert (problem := play(seed, Size(clients=60, seconds=60.0))) is None, problem


def test_the_same_seed_is_the_same_run() -> None:
    from tests.simulation import play as module  # noqa: PLC0415

    runs = []
    check = module.check

    def note(played: module.Played) -> list[str]:
        runs.append(
            (
                [(one.request_id, bytes(one.body), one.refused) for one in played.seen],
                [(t.request_id, t.ended, t.tokens) for t in played.account.truths],
                played.deaths,
            )
        )
        return check(played)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "check", note)
        for seed in (3, 3, 4, 4):
            play(seed)
    assert runs[0] == runs[1] != runs[2] == runs[3]


@pytest.mark.soak
def test_soak() -> None:
    """New seeds each time: the first is in the message of a failure, as each is."""
    first = random.SystemRandom().randrange(1 << 40)
    for seed in seeds(first, SOAK_SEEDS):
        size = Size(clients=40, seconds=40.0) if seed % 10 == 0 else SHORT
        assert (problem := play(seed, size)) is None, f"{problem} with {size}"
