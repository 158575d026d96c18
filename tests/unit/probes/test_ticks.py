"""The moments at which regular probes begin."""

import pytest

from extproc.probes.ticks import tick_s, until_tick_s


@pytest.mark.parametrize(
    ("interval_s", "endpoints", "tick"),
    [
        pytest.param(0.1, 0, 0.01, id="no endpoint"),
        pytest.param(0.1, 80, 0.01, id="few: a tenth of the interval"),
        pytest.param(0.1, 400, 0.002, id="many: for eight of them"),
        pytest.param(60.0, 80, 0.05, id="a long interval"),
    ],
)
def test_probes_begin_some_at_a_time(interval_s: float, endpoints: int, tick: float) -> None:
    assert tick_s(interval_s, endpoints) == pytest.approx(tick)


@pytest.mark.parametrize(
    ("pause_s", "now", "delay_s"),
    [
        pytest.param(1.0, 10.0, 1.0, id="at a tick"),
        pytest.param(1.1, 10.0, 1.0, id="a tick is just over"),
        pytest.param(1.2, 10.0, 1.25, id="a tick is soon"),
        pytest.param(1.0, 10.1, 0.9, id="from between two ticks"),
        pytest.param(0.0, 10.1, 0.0, id="one that is over already"),
    ],
)
def test_a_pause_ends_at_the_nearest_tick(pause_s: float, now: float, delay_s: float) -> None:
    assert until_tick_s(pause_s, now=now, tick=0.25) == pytest.approx(delay_s)
