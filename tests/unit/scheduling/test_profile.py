"""scheduling/profile: filters, scorers and picker, run in that order."""

from collections.abc import Sequence
from random import Random

import pytest
from tests.unit.known import endpoint

from extproc.scheduling.filters import SubsetFilter
from extproc.scheduling.pickers import MaxScorePicker
from extproc.scheduling.profile import Profile, WeightedScorer
from extproc.values.decision import Scores
from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest, RouteToAny

CANDIDATES = [endpoint(letter) for letter in "abc"]


class Favour:
    """Scores 1 for the endpoints it names, else 0."""

    def __init__(self, name: str, favoured: str) -> None:
        self.name = name
        self._favoured = favoured

    def score(self, request: InferenceRequest, candidates: Sequence[Endpoint], *, now: float) -> Sequence[float]:
        return [float(candidate.id in self._favoured) for candidate in candidates]


class Without:
    """Filters out the endpoints it names."""

    def __init__(self, left_out: str) -> None:
        self.name = f"without {left_out}"
        self._left_out = left_out

    def keep(self, request: InferenceRequest, candidates: Sequence[Endpoint]) -> Sequence[Endpoint]:
        return [candidate for candidate in candidates if candidate.id not in self._left_out]


def choose(
    *,
    left_out: Sequence[str] = (),
    favoured: dict[str, float] | None = None,
    subset: tuple[str, ...] | None = None,
    count: int = 1,
) -> tuple[str, Scores]:
    profile = Profile(
        filters=[*(Without(letters) for letters in left_out), SubsetFilter()],
        scorers=[WeightedScorer(Favour(f"for {letters}", letters), w) for letters, w in (favoured or {}).items()],
        picker=MaxScorePicker(),
    )
    request = InferenceRequest(RouteToAny(), arrived_s=0.0, subset=subset)
    endpoints, scores = profile.choose(request, CANDIDATES, count=count, now=0.0, rng=Random(0))
    return "".join(each.id for each in endpoints), scores


@pytest.mark.parametrize(
    ("favoured", "left_out", "count", "chosen"),
    [
        pytest.param({"b": 1.0}, [], 1, "b", id="the best score"),
        pytest.param({"b": 1.0, "c": 2.0}, [], 1, "c", id="the heavier scorer"),
        pytest.param({"b": 1.0, "c": 2.0}, [], 3, "cba", id="then the fallbacks"),
        pytest.param({"ab": 1.0, "bc": 1.0}, [], 1, "b", id="scores add up"),
        pytest.param({"b": 1.0, "c": 0.0}, [], 1, "b", id="weight 0 counts nothing"),
        pytest.param({"b": 1.0}, ["b", "c"], 1, "a", id="a score does not bring back what a filter left out"),
        pytest.param({"b": 1.0}, ["a", "b", "c"], 1, "", id="nothing is left"),
    ],
)
def test_chooses(favoured: dict[str, float], left_out: list[str], count: int, chosen: str) -> None:
    assert choose(favoured=favoured, left_out=left_out, count=count)[0] == chosen


def test_tells_the_scores_of_those_that_the_filters_left() -> None:
    _, scores = choose(favoured={"b": 1.0, "c": 2.0}, left_out=["a"])
    assert scores == Scores((endpoint("b"), endpoint("c")), {"for b": (1.0, 0.0), "for c": (0.0, 1.0)}, (1.0, 2.0))


def test_tells_no_scores_where_nothing_was_left() -> None:
    assert choose(favoured={"b": 1.0}, subset=()) == ("", Scores())


def test_without_scorers_any_will_do() -> None:
    chosen, scores = choose(count=3)
    assert sorted(chosen) == ["a", "b", "c"]
    assert scores.totals == (0.0, 0.0, 0.0)


def test_repr_tells_what_is_run() -> None:
    profile = Profile(
        filters=[SubsetFilter()], scorers=[WeightedScorer(Favour("kv", "a"), 2.5)], picker=MaxScorePicker()
    )
    assert repr(profile) == "<Profile subset ▸ kv × 2.5 ▸ max-score>"
