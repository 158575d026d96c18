"""How much was routed to each endpoint lately, for data planes that never say when a request ends."""

import math
from collections.abc import Iterable

DECAY_S = 1.0
"""A routed request counts 1 at once and 1/e after this time."""
MOST_DECAYS = 100.0
"""After so many decay times what is kept is brought up to date, long before its numbers grow too large."""
NEGLIGIBLE = 1e-9


class RecentRoutes:
    """Exponentially decaying counts of routed requests, by endpoint id.

    What is kept are the counts as they would be at one moment, had none decayed since: all decay by the same factor, so
    that thousands are read with one exponential.
    """

    def __init__(self, decay_s: float = DECAY_S) -> None:
        self._decay_s = decay_s
        self._counts: dict[str, float] = {}
        self._at_s = -math.inf
        """The moment. What was routed since counts for more than 1 there."""

    def count(self, endpoint_id: str, *, now: float) -> float:
        """Requests routed lately to one, 0.0 for an endpoint never heard of."""
        count = self._counts.get(endpoint_id)
        return 0.0 if count is None else count * math.exp((self._at_s - now) / self._decay_s)

    def counts(self, endpoint_ids: Iterable[str], *, now: float) -> list[float]:
        """Requests routed lately to each, 0.0 for an endpoint never heard of."""
        if not self._counts:
            return [0.0 for _ in endpoint_ids]
        factor, get = math.exp((self._at_s - now) / self._decay_s), self._counts.get
        return [get(id_, 0.0) * factor for id_ in endpoint_ids]

    def add(self, endpoint_id: str, *, now: float) -> None:
        """Counts one request routed now."""
        if now - self._at_s > MOST_DECAYS * self._decay_s:
            ids = list(self._counts)
            counts = zip(ids, self.counts(ids, now=now), strict=True)
            self._counts = {id_: count for id_, count in counts if count > NEGLIGIBLE}
            self._at_s = now
        self._counts[endpoint_id] = self._counts.get(endpoint_id, 0.0) + math.exp((now - self._at_s) / self._decay_s)

    def forget(self, endpoint_id: str) -> None:
        """Forgets an endpoint that is gone."""
        self._counts.pop(endpoint_id, None)
