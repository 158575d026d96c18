"""scheduling/scorers: scores in [0, 1], 1 is best."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.known import endpoint

from extproc.scheduling.scorers import RecentRoutesScorer
from extproc.values.request import InferenceRequest, RouteToAny

REQUEST = InferenceRequest(RouteToAny(), arrived_s=0.0)


class Counts:
    """Recent routes as told, at one time alone."""

    def __init__(self, by_id: dict[str, float], at_s: float) -> None:
        self._by_id = by_id
        self._at_s = at_s

    def counts(self, endpoint_ids: Iterable[str], *, now: float) -> list[float]:
        assert now == self._at_s
        return [self._by_id[id_] for id_ in endpoint_ids]


@pytest.mark.parametrize(
    ("recent", "score"),
    [
        pytest.param(0.0, 1.0, id="idle is best"),
        pytest.param(1.0, 0.5, id="one recent request"),
        pytest.param(3.0, 0.25, id="three"),
    ],
)
def test_recent_routes(recent: float, score: float) -> None:
    scorer = RecentRoutesScorer(Counts({"a": recent}, at_s=7.0))
    assert list(scorer.score(REQUEST, [endpoint("a")], now=7.0)) == [score]


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=8))
def test_more_recent_routes_never_score_better(counts: list[float]) -> None:
    letters = "abcdefgh"[: len(counts)]
    scorer = RecentRoutesScorer(Counts(dict(zip(letters, counts, strict=True)), at_s=0.0))
    scores = scorer.score(REQUEST, [endpoint(letter) for letter in letters], now=0.0)
    assert all(0.0 <= score <= 1.0 for score in scores)
    by_count = [score for _, score in sorted(zip(counts, scores, strict=True), key=lambda pair: (pair[0], -pair[1]))]
    assert by_count == sorted(scores, reverse=True)
