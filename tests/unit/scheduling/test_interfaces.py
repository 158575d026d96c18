"""scheduling/interfaces: what scorers look at."""

import math
from typing import Any

import pytest
from tests.unit.scheduling.pool import Told, candidate, need


class Counted(Told):
    """A load that counts how often it is asked, and whose answers tell the time that it was asked for."""

    asked = 0

    def confidence(self, now: float) -> float:
        self.asked += 1
        return now

    def requests(self, now: float) -> float:
        self.asked += 1
        return 2 * now


def loaded(*, fresh_until_s: float = 5.0, told: float | None = 7.0, is_exact: bool = False) -> Counted:
    load = Counted()
    load.fresh_until_s, load.told, load.is_exact = fresh_until_s, told, is_exact
    return load


def test_a_candidate_is_told_by_its_endpoint() -> None:
    assert repr(candidate("a", Told())) == "<Candidate a>"


@pytest.mark.parametrize(
    ("about", "confidences", "requests"),
    [
        pytest.param({}, [1.0, 1.0], [7.0, 7.0], id="fresh: what stands there"),
        pytest.param({"fresh_until_s": 3.0}, [1.0, 1.0], [7.0, 7.0], id="fresh for the last time"),
        pytest.param({"fresh_until_s": 2.9}, [3.0, 3.0], [6.0, 6.0], id="one is not: all are asked"),
        pytest.param({"fresh_until_s": -math.inf}, [3.0, 3.0], [6.0, 6.0], id="one was never read"),
        pytest.param({"told": None}, [1.0, 1.0], [6.0, 6.0], id="one does not say how many"),
        pytest.param({"is_exact": True}, [1.0, 1.0], [6.0, 6.0], id="the ends are seen: more is known than is told"),
    ],
)
def test_what_is_known_of_each(about: dict[str, Any], confidences: list[float], requests: list[float]) -> None:
    exact = {key: value for key, value in about.items() if key == "is_exact"}
    found = need([loaded(**exact), loaded(**about)], now=3.0)
    assert found.is_fresh is (confidences == [1.0, 1.0])
    assert (found.confidences, found.requests) == (confidences, requests)


def test_what_several_scorers_look_at_is_asked_once() -> None:
    load = loaded(fresh_until_s=0.0)
    about = need([load], now=3.0)
    for _ in range(3):
        assert (about.confidences, about.requests) == ([3.0], [6.0])
    assert load.asked == 2
