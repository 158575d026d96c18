"""Where a median lies, as the guard judges by it."""

import pytest
from bench.guard import interval


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        pytest.param(1, (1, 1), id="one value is all that is known"),
        pytest.param(5, (1, 5), id="too few for the confidence: all of them"),
        pytest.param(6, (1, 6), id="just enough"),
        pytest.param(9, (2, 8), id="one left out at each end"),
        pytest.param(12, (3, 10), id="two"),
        pytest.param(24, (7, 18), id="six"),
    ],
)
def test_the_interval_is_that_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    """Source: tables of confidence intervals for the median, 95 %."""
    values = [float(rank) for rank in range(1, count + 1)]
    assert interval(values[::-1]) == ranks


def test_one_wild_round_moves_nothing() -> None:
    assert interval([1.0] * 11 + [50.0]) == (1.0, 1.0)
