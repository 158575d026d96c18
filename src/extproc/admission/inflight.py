"""How many requests each endpoint is answering, exact for the requests whose streams stay open until the end."""

from collections.abc import Mapping

from extproc.values.decision import NO_WORK, Work
from extproc.values.endpoint import Endpoint


class InFlight:
    """Counts of open requests by endpoint. What is begun must be ended, whatever becomes of the stream."""

    def __init__(self) -> None:
        self.total = 0
        self.is_exact = False
        """The ends of all responses are seen. Until then these counts say nothing: a zero means "not known"."""
        self._misses = False
        self._counts: dict[str, int] = {}
        self._tokens: dict[str, float] = {}
        self._endpoints: dict[str, Endpoint] = {}

    def __repr__(self) -> str:
        return f"<InFlight {self.total} at {len(self._counts)} endpoints>"

    def see(self) -> None:
        """A response was shown: its end will be seen."""
        self.is_exact = not self._misses

    def miss(self) -> None:
        """A request was sent on whose end will not be seen. From then on the counts are of a part only."""
        self._misses = True
        self.is_exact = False

    def begin(self, endpoint: Endpoint, work: Work = NO_WORK) -> None:
        """A request is now at `endpoint`."""
        self.total += 1
        self._counts[endpoint.id] = self._counts.get(endpoint.id, 0) + 1
        self._tokens[endpoint.id] = self._tokens.get(endpoint.id, 0.0) + work.uncached_tokens
        self._endpoints[endpoint.id] = endpoint

    def end(self, endpoint: Endpoint, work: Work = NO_WORK) -> None:
        """A request that was begun there, with the same work, is no longer there."""
        self.total -= 1
        left = self._counts[endpoint.id] - 1
        if left:
            self._counts[endpoint.id] = left
            # Sums of fractions end a little beside 0, and below it would be less than nothing.
            self._tokens[endpoint.id] = max(0.0, self._tokens[endpoint.id] - work.uncached_tokens)
        else:
            del self._counts[endpoint.id], self._tokens[endpoint.id], self._endpoints[endpoint.id]

    def count(self, endpoint_id: str) -> int:
        """Requests at an endpoint, 0 for one never heard of."""
        return self._counts.get(endpoint_id, 0)

    def tokens(self, endpoint_id: str) -> float:
        """Prompt tokens to compute, of the requests there."""
        return self._tokens.get(endpoint_id, 0.0)

    def by_name(self, endpoints: Mapping[str, str]) -> dict[str, int]:
        """Counts by name: of each endpoint of `endpoints` (id → name), and of those gone that still have requests.

        What stands under one name, such as an endpoint and its predecessor at another address, is put together.
        """
        counts = dict.fromkeys(endpoints.values(), 0)
        for id_, count in self._counts.items():
            name = self._endpoints[id_].name
            counts[name] = counts.get(name, 0) + count
        return counts
