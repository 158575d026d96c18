"""How far pages are held back while the loop is late."""

from collections.abc import Sequence

import pytest

from extproc.probes.restraint import LEAST_REST_S, LONGEST_REST_S, Restraint

ON_TIME, LATE = 0.001, 0.1


@pytest.mark.parametrize(
    ("ticks", "rest_s"),
    [
        pytest.param([], 0.0, id="at first"),
        pytest.param([ON_TIME] * 9, 0.0, id="on time"),
        pytest.param([LATE], LEAST_REST_S, id="late once"),
        pytest.param([LATE, ON_TIME], 0.0, id="late once, and on time again"),
        pytest.param([LATE] * 3, LEAST_REST_S * 1.25**2, id="more with each that is late"),
        pytest.param([LATE] * 99, LONGEST_REST_S, id="never more than the most"),
        pytest.param([LATE] * 99 + [ON_TIME] * 10, LONGEST_REST_S * 0.98**10, id="less with each that is on time"),
        pytest.param([LATE] * 99 + [ON_TIME] * 300, 0.0, id="over"),
    ],
)
def test_the_rest_after_a_reading(ticks: Sequence[float], rest_s: float) -> None:
    restraint = Restraint()
    for late_s in ticks:
        restraint.note_tick(late_s)
    assert restraint.rest_s == pytest.approx(rest_s)
