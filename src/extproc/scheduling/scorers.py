"""The scorers: each returns values in [0, 1], 1 is best."""

from collections.abc import Sequence
from typing import Protocol

from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest


class RecentCounts(Protocol):
    """What `RecentRoutesScorer` needs to know."""

    def count(self, endpoint_id: str, *, now: float) -> float:
        """Requests routed to the endpoint lately, decaying."""


class RecentRoutesScorer:
    """Prefers the endpoint that got the fewest requests in the last second: 1 / (1 + recent requests)."""

    name = "recent-routes"

    def __init__(self, recent: RecentCounts) -> None:
        self._recent = recent

    def score(self, request: InferenceRequest, candidates: Sequence[Endpoint], *, now: float) -> Sequence[float]:
        """See `Scorer.score`."""
        count = self._recent.count
        return [1.0 / (1.0 + count(endpoint.id, now=now)) for endpoint in candidates]
