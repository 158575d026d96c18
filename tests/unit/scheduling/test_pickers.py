"""scheduling/pickers: the best first, equals at random."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.scheduling.pickers import MaxScorePicker


@pytest.mark.parametrize(
    ("totals", "count", "picked"),
    [
        pytest.param([1.0], 1, [0], id="the only one"),
        pytest.param([0.1, 0.3, 0.2], 1, [1], id="the best"),
        pytest.param([0.1, 0.3, 0.2], 2, [1, 2], id="the best two, in order"),
        pytest.param([0.1, 0.3, 0.2], 9, [1, 2, 0], id="no more than there are"),
        pytest.param([0.0, -1.0], 1, [0], id="a sum may be anything"),
    ],
)
def test_picks_by_the_sums(totals: list[float], count: int, picked: list[int]) -> None:
    assert list(MaxScorePicker().pick(totals, count, Random(0))) == picked


@pytest.mark.parametrize("count", [1, 2])
def test_equals_are_picked_equally_often(count: int) -> None:
    picker, rng = MaxScorePicker(), Random(0)
    first = Counter(picker.pick([0.5, 1.0, 1.0, 1.0], count, rng)[0] for _ in range(3000))
    assert set(first) == {1, 2, 3}
    assert all(850 < times < 1150 for times in first.values())


def test_the_same_randomness_picks_the_same() -> None:
    assert MaxScorePicker().pick([1.0] * 9, 9, Random(5)) == MaxScorePicker().pick([1.0] * 9, 9, Random(5))


@given(
    totals=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=9),
    count=st.integers(1, 16),
    seed=st.integers(0, 99),
)
def test_never_one_twice_and_never_a_worse_one_first(totals: list[float], count: int, seed: int) -> None:
    picked = MaxScorePicker().pick(totals, count, Random(seed))
    assert len(set(picked)) == len(picked) == min(count, len(totals))
    assert [totals[index] for index in picked] == sorted(totals, reverse=True)[:count]
