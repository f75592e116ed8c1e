"""Pauses between polls."""

from itertools import pairwise

from proxy.core.polling import Schedule


def test_pauses_grow_from_the_first_to_the_longest() -> None:
    schedule = Schedule(first_s=2, longest_s=60)
    assert [schedule.pause_s(age) for age in (0, 1, 4, 10, 120, 10**6)] == [2, 2, 2, 5, 60, 60]


def test_a_day_of_asking_is_bounded() -> None:
    schedule = Schedule(first_s=2, longest_s=60)
    age_s, ages = 0.0, [0.0]
    while age_s < 86_400:
        age_s += schedule.pause_s(age_s)
        ages.append(age_s)
    assert len(ages) < 86_400 / 60 + 20
    pauses = [after - before for before, after in pairwise(ages)]
    assert pauses == sorted(pauses)
