"""How much was routed to each endpoint lately, for data planes that never say when a request ends."""

import math

DECAY_S = 1.0
"""A routed request counts 1 at once and 1/e after this time."""


class RecentRoutes:
    """Exponentially decaying counts of routed requests, by endpoint id."""

    def __init__(self, decay_s: float = DECAY_S) -> None:
        self._decay_s = decay_s
        self._counts: dict[str, tuple[float, float]] = {}

    def count(self, endpoint_id: str, *, now: float) -> float:
        """Requests routed lately, 0.0 for an endpoint never heard of."""
        entry = self._counts.get(endpoint_id)
        if entry is None:
            return 0.0
        count, at = entry
        return count * math.exp((at - now) / self._decay_s)

    def add(self, endpoint_id: str, *, now: float) -> None:
        """Counts one request routed now."""
        self._counts[endpoint_id] = (self.count(endpoint_id, now=now) + 1.0, now)

    def forget(self, endpoint_id: str) -> None:
        """Forgets an endpoint that is gone."""
        self._counts.pop(endpoint_id, None)
