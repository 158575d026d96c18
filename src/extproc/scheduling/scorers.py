"""The scorers: each returns values in [0, 1], 1 is best."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest


class RecentCounts(Protocol):
    """What `RecentRoutesScorer` needs to know."""

    def counts(self, endpoint_ids: Iterable[str], *, now: float) -> Sequence[float]:
        """Requests routed lately to each of the endpoints, decaying."""


class RecentRoutesScorer:
    """Prefers the endpoint that got the fewest requests in the last second: 1 / (1 + recent requests)."""

    name = "recent-routes"

    def __init__(self, recent: RecentCounts) -> None:
        self._recent = recent

    def score(self, request: InferenceRequest, candidates: Sequence[Endpoint], *, now: float) -> Sequence[float]:
        """See `Scorer.score`."""
        counts = self._recent.counts([endpoint.id for endpoint in candidates], now=now)
        return [1.0 / (1.0 + count) for count in counts]
