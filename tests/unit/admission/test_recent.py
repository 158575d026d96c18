"""admission/recent: counts that decay."""

import math

import pytest

from extproc.admission.recent import DECAY_S, RecentRoutes


@pytest.mark.parametrize(
    ("routed_at_s", "now", "count"),
    [
        pytest.param([], 5.0, 0.0, id="never heard of"),
        pytest.param([5.0], 5.0, 1.0, id="just routed"),
        pytest.param([5.0], 5.0 + DECAY_S, 1 / math.e, id="one decay time ago"),
        pytest.param([5.0, 5.0, 5.0], 5.0, 3.0, id="three at once"),
        pytest.param([4.0, 5.0], 5.0, 1 + 1 / math.e, id="an old and a new one"),
        pytest.param([5.0], 5000.0, 0.0, id="long ago"),
    ],
)
def test_counts_what_was_routed_lately(routed_at_s: list[float], now: float, count: float) -> None:
    recent = RecentRoutes()
    for at_s in routed_at_s:
        recent.add("a", now=at_s)
    assert recent.counts("ab", now=now) == pytest.approx([count, 0.0])
    assert [recent.count(id_, now=now) for id_ in "ab"] == pytest.approx([count, 0.0])


def test_asking_changes_nothing() -> None:
    recent = RecentRoutes()
    recent.add("a", now=0.0)
    assert recent.counts("a", now=1.0) == recent.counts("a", now=1.0)
    assert recent.counts("a", now=0.0) == [1.0]


def test_decay_time_can_be_chosen() -> None:
    recent = RecentRoutes(decay_s=10.0)
    recent.add("a", now=0.0)
    assert recent.counts("a", now=10.0) == pytest.approx([1 / math.e])


def test_forgets_endpoints_that_are_gone() -> None:
    recent = RecentRoutes()
    recent.add("a", now=0.0)
    recent.add("b", now=0.0)
    recent.forget("a")
    recent.forget("c")
    assert recent.counts("abc", now=0.0) == [0.0, 1.0, 0.0]


def test_counts_are_right_for_days() -> None:
    """And what was routed long ago is not kept."""
    recent = RecentRoutes()
    recent.add("old", now=0.0)
    for step in range(200_000):
        recent.add("a", now=step * 1.0)
    steady = 1 / (1 - 1 / math.e)
    assert recent.counts(["a", "old"], now=199_999.0) == pytest.approx([steady, 0.0])
    assert recent._counts.keys() == {"a"}
