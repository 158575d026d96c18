"""Slopes with their intervals, as the soak judges by them."""

import math

import pytest
from bench.trends import theil_sen


@pytest.mark.parametrize(
    ("values", "middle", "is_growth"),
    [
        pytest.param([5.0] * 20, 0.0, False, id="flat"),
        pytest.param([5.0 + 2 * number for number in range(20)], 2.0, True, id="grows"),
        pytest.param([5.0 - 2 * number for number in range(20)], -2.0, False, id="shrinks"),
        pytest.param([5.0 + number % 2 for number in range(20)], 0.0, False, id="up-and-down"),
        pytest.param([5.0] * 9 + [900.0] + [5.0] * 10, 0.0, False, id="one-wild-value"),
        pytest.param([5.0 + 9 * math.sin(7 * number) for number in range(20)], 0.0, False, id="noise"),
        pytest.param(
            [5.0 + 2 * number + 9 * math.sin(7 * number) for number in range(20)], 2.0, True, id="noisy-growth"
        ),
    ],
)
def test_growth_is_told_from_noise(values: list[float], middle: float, is_growth: bool) -> None:
    slope = theil_sen(range(len(values)), values)
    assert slope.middle == pytest.approx(middle, abs=0.2)
    assert slope.low <= slope.middle <= slope.high
    assert (slope.low > 0) is is_growth


def test_the_interval_is_sens() -> None:
    """Source: Sen 1968. Of the 190 slopes of 20 values, in order, those at (190 ∓ 1.96 √950) / 2."""
    values = [float(number * number) for number in range(20)]
    slopes = sorted(float(one + other) for one in range(20) for other in range(one))
    slope = theil_sen(range(20), values)
    assert (slope.low, slope.high) == (slopes[64 - 1], slopes[126])


@pytest.mark.parametrize(
    ("values", "interval"),
    [
        pytest.param([0.0, 3.0], (3.0, 3.0), id="two"),
        pytest.param([0.0, 1.0, 0.0], (-1.0, 1.0), id="three"),
    ],
)
def test_few_values_are_told_by_all_of_their_slopes(values: list[float], interval: tuple[float, float]) -> None:
    slope = theil_sen(range(len(values)), values)
    assert (slope.low, slope.high) == interval


def test_one_value_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two values"):
        theil_sen([0], [1.0])
