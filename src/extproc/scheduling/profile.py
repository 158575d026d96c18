"""One way to choose: filters, weighted scorers and a picker, run in that order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from extproc.scheduling.interfaces import Filter, Picker, Scorer
from extproc.values.decision import Scores
from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest

if TYPE_CHECKING:
    from random import Random


class WeightedScorer(NamedTuple):
    """A scorer and how much it counts."""

    scorer: Scorer
    weight: float


class Profile:
    """Filters ▸ scorers ▸ picker."""

    def __init__(self, *, filters: Sequence[Filter], scorers: Sequence[WeightedScorer], picker: Picker) -> None:
        self._filters = tuple(filters)
        self._scorers = tuple(scorers)
        self._picker = picker

    def __repr__(self) -> str:
        scorers = ", ".join(f"{scorer.name} × {weight:g}" for scorer, weight in self._scorers)
        return f"<Profile {', '.join(f.name for f in self._filters)} ▸ {scorers} ▸ {self._picker.name}>"

    def choose(
        self, request: InferenceRequest, candidates: Sequence[Endpoint], *, count: int, now: float, rng: "Random"
    ) -> tuple[tuple[Endpoint, ...], Scores]:
        """At most `count` endpoints, the choice first, and the scores that led there.

        Nothing is chosen (an empty tuple) when the filters leave nothing. `now` is in monotonic seconds.
        """
        for filter_ in self._filters:
            candidates = filter_.keep(request, candidates)
        if not candidates:
            return (), Scores()
        totals = [0.0] * len(candidates)
        by_scorer: dict[str, tuple[float, ...]] = {}
        for scorer, weight in self._scorers:
            scores = scorer.score(request, candidates, now=now)
            by_scorer[scorer.name] = tuple(scores)
            totals = [total + weight * score for total, score in zip(totals, scores, strict=True)]
        picked = tuple([candidates[index] for index in self._picker.pick(totals, count, rng)])
        return picked, Scores(candidates=tuple(candidates), by_scorer=by_scorer, totals=tuple(totals))
