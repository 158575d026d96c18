"""How long picks wait behind turns of an event loop."""

from collections.abc import Sequence

import pytest
from bench.loop_turns import _wait_s


@pytest.mark.parametrize(
    ("turns_s", "took_s", "percent", "wait_s"),
    [
        pytest.param([], 10.0, 99.0, 0.0, id="no turn"),
        pytest.param([1.0], 100.0, 99.5, 0.5, id="half of one turn"),
        pytest.param([1.0], 100.0, 99.0, 0.0, id="all of it"),
        pytest.param([1.0], 100.0, 50.0, 0.0, id="hardly ever any"),
        pytest.param([1.0, 1.0], 4.0, 75.0, 0.5, id="two alike"),
        pytest.param([0.1] * 10 + [1.0], 100.0, 99.5, 0.5, id="short ones beside a long one"),
        pytest.param([1.0, 2.0], 10.0, 80.0, 0.5, id="of both"),
    ],
)
def test_how_long_a_moment_chosen_at_random_waits(
    turns_s: Sequence[float], took_s: float, percent: float, wait_s: float
) -> None:
    assert _wait_s(turns_s, took_s, percent=percent) == pytest.approx(wait_s)
