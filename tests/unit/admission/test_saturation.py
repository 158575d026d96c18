"""admission/saturation: when nothing is free."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.admission.saturation import Limits, is_saturated
from extproc.values.load import EngineLoad


class Told:
    """An occupancy that is what the test says."""

    def __init__(
        self,
        *,
        waiting: float | None = None,
        kv_used_ratio: float | None = None,
        requests: float = 0.0,
        confidence: float = 1.0,
        is_read: bool = True,
    ) -> None:
        self.reading = EngineLoad(0.0, waiting=waiting, kv_used_ratio=kv_used_ratio) if is_read else None
        self.waiting = waiting if is_read else None
        self._requests = requests
        self._confidence = confidence if is_read else 0.0

    def confidence(self, now: float) -> float:
        return self._confidence

    def requests(self, now: float) -> float:
        return self._requests


LIMITS = Limits(queue_depth=5, kv_used_ratio=0.8, in_flight=10)
FREE, QUEUED, KV_FULL, MANY = {"waiting": 0.0}, {"waiting": 5.0}, {"kv_used_ratio": 0.8}, {"requests": 10.0}
UNREAD, STALE, AGED = {"is_read": False}, {"confidence": 0.0}, {"confidence": 0.1}


@pytest.mark.parametrize(
    ("loads", "verdict"),
    [
        pytest.param([], False, id="none at all"),
        pytest.param([FREE], False, id="free"),
        pytest.param([{"waiting": 4.9, "kv_used_ratio": 0.79, "requests": 9.9}], False, id="below every limit"),
        pytest.param([QUEUED], True, id="the queue's limit"),
        pytest.param([KV_FULL], True, id="the cache's limit"),
        pytest.param([MANY], True, id="the limit in flight"),
        pytest.param([QUEUED, KV_FULL, MANY], True, id="each by another limit"),
        pytest.param([QUEUED, QUEUED, FREE], False, id="one is free"),
        pytest.param([FREE, QUEUED, QUEUED], False, id="the first is free"),
        pytest.param([{"waiting": 9.0}, {"waiting": 1.0}], True, id="what waits at one outweighs the room at another"),
        pytest.param([{"waiting": 8.9}, {"waiting": 1.0}], False, id="not quite"),
        pytest.param([{"waiting": 1e9}] + [FREE] * 4, False, id="one that hangs counts for four at most"),
        pytest.param([UNREAD], False, id="never read: unknown is not full"),
        pytest.param([QUEUED, UNREAD], False, id="one was never read"),
        pytest.param([{}], False, id="a page that does not say"),
        pytest.param([QUEUED | STALE], False, id="too old to be believed"),
        pytest.param([KV_FULL | STALE], False, id="its cache too"),
        pytest.param([QUEUED | AGED], True, id="old but believed"),
        pytest.param([MANY | UNREAD], True, id="in flight is known without a page"),
        pytest.param([MANY | STALE], True, id="and without a new one"),
    ],
)
def test_saturated(loads: list[dict[str, Any]], verdict: bool) -> None:
    assert is_saturated([Told(**load) for load in loads], LIMITS, now=0.0) is verdict


@pytest.mark.parametrize(
    ("limits", "load"),
    [
        pytest.param(Limits(queue_depth=None), {"waiting": 1e9}, id="queue"),
        pytest.param(Limits(kv_used_ratio=None), {"kv_used_ratio": 1.0}, id="cache"),
        pytest.param(Limits(in_flight=None), {"requests": 1e9}, id="in flight"),
    ],
)
def test_none_is_no_limit(limits: Limits, load: dict[str, Any]) -> None:
    assert not is_saturated([Told(**load)], limits, now=0.0)


def test_a_limit_of_0_is_always_reached_by_what_is_known() -> None:
    assert is_saturated([Told(waiting=0.0)], Limits(queue_depth=0), now=0.0)
    assert not is_saturated([Told(is_read=False)], Limits(queue_depth=0), now=0.0)


told = st.fixed_dictionaries(
    {
        "waiting": st.none() | st.floats(0, 10),
        "kv_used_ratio": st.none() | st.floats(0, 1),
        "requests": st.floats(0, 20),
        "confidence": st.sampled_from([0.0, 0.5, 1.0]),
        "is_read": st.booleans(),
    }
)


@given(loads=st.lists(told, min_size=1, max_size=4))
def test_endpoints_that_are_all_saturated_are_so_together(loads: list[dict[str, Any]]) -> None:
    verdicts = [is_saturated([Told(**load)], LIMITS, now=0.0) for load in loads]
    together = is_saturated([Told(**load) for load in loads], LIMITS, now=0.0)
    assert together or not all(verdicts)
    assert any(verdicts) or not together


@given(load=told, less=st.floats(0, 1))
def test_one_that_is_better_off_is_not_saturated_where_it_was_not(load: dict[str, Any], less: float) -> None:
    freer = load | {key: load[key] * less for key in ("waiting", "kv_used_ratio", "requests") if load[key] is not None}
    before, after = (is_saturated([Told(**each)], LIMITS, now=0.0) for each in (load, freer))
    assert before or not after
