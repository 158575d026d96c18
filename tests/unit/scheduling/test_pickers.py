"""scheduling/pickers: by the sums, and among equals by rank."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.scheduling.catalogue import PICKERS
from extproc.scheduling.pickers import MaxScorePicker, PowerOfTwoPicker


class Scripted(Random):
    """Randomness as told."""

    def __init__(self, *numbers: float) -> None:
        super().__init__(0)
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0)


def by(*ranks: float) -> Sequence[float]:
    return ranks


@pytest.mark.parametrize(
    ("totals", "ranks", "count", "picked"),
    [
        pytest.param([1.0], by(0), 1, [0], id="the only one"),
        pytest.param([0.1, 0.3, 0.2], by(9, 0, 5), 1, [1], id="the best"),
        pytest.param([0.1, 0.3, 0.2], by(9, 0, 5), 2, [1, 2], id="the best two, in order"),
        pytest.param([0.1, 0.3, 0.2], by(9, 0, 5), 9, [1, 2, 0], id="no more than there are"),
        pytest.param([0.0, -1.0], by(0, 1), 1, [0], id="a sum may be anything"),
        pytest.param([0.5, 0.5, 0.1], by(1, 2, 3), 1, [1], id="of equals the highest rank"),
        pytest.param([0.5, 0.5, 0.1, 0.5], by(1, 2, 3, 4), 4, [3, 1, 0, 2], id="equals by rank, in order"),
        pytest.param([float("inf")] * 2, by(1, 2), 1, [1], id="sums beyond all numbers"),
    ],
)
def test_the_highest_sum(totals: list[float], ranks: Sequence[float], count: int, picked: list[int]) -> None:
    assert list(MaxScorePicker().pick(totals, count, rank=ranks.__getitem__, rng=Random(0))) == picked


@pytest.mark.parametrize(
    ("totals", "drawn", "count", "picked"),
    [
        pytest.param([1.0], (0.0, 0.99), 1, [0], id="the only one"),
        pytest.param([0.1, 0.3, 0.2], (0.0, 0.99), 1, [2], id="the better of the two that are drawn"),
        pytest.param([0.1, 0.3, 0.2], (0.99, 0.0), 1, [2], id="drawn the other way round"),
        pytest.param([0.1, 0.3, 0.2], (0.0, 0.0), 1, [0], id="one drawn twice"),
        pytest.param([0.2, 0.3, 0.2], (0.0, 0.99), 1, [2], id="of equals the highest rank"),
        pytest.param([0.1, 0.3, 0.2], (0.0, 0.99), 9, [2, 1, 0], id="then the highest sums"),
        pytest.param([0.1, 0.3, 0.2], (0.0, 0.0), 2, [0, 1], id="no more than asked for"),
    ],
)
def test_the_higher_of_two_drawn(totals: list[float], drawn: Sequence[float], count: int, picked: list[int]) -> None:
    picker, rng = PowerOfTwoPicker(), Scripted(*drawn)
    assert list(picker.pick(totals, count, rank=float, rng=rng)) == picked


@pytest.mark.parametrize("name", PICKERS)
@given(
    totals=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=9),
    count=st.integers(1, 16),
    seed=st.integers(0, 99),
)
def test_never_one_twice_and_the_fallbacks_in_order(name: str, totals: list[float], count: int, seed: int) -> None:
    picked = PICKERS[name]().pick(totals, count, rank=float, rng=Random(seed))
    assert len(set(picked)) == len(picked) == min(count, len(totals))
    order = sorted(set(range(len(totals))) - {picked[0]}, key=lambda index: (totals[index], index), reverse=True)
    assert list(picked[1:]) == order[: count - 1]
    if name == MaxScorePicker.name:
        assert (totals[picked[0]], picked[0]) == max(zip(totals, range(len(totals)), strict=True))


@pytest.mark.parametrize("name", PICKERS)
@given(totals=st.lists(st.floats(0, 1), min_size=1, max_size=9), count=st.integers(1, 9), seed=st.integers(0, 99))
def test_what_is_chosen_does_not_hang_on_the_number_of_fallbacks(
    name: str, totals: list[float], count: int, seed: int
) -> None:
    one, more = (PICKERS[name]().pick(totals, size, rank=float, rng=Random(seed)) for size in (1, count))
    assert one[0] == more[0]
