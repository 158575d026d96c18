"""The filters. Serving the model is no filter that could be left out: candidates are looked up by model."""

from collections.abc import Sequence

from extproc.values.endpoint import Endpoint
from extproc.values.request import InferenceRequest


class SubsetFilter:
    """Keeps to the endpoints that the data plane allows by its subset hint. Present and empty allows none."""

    name = "subset"

    def keep(self, request: InferenceRequest, candidates: Sequence[Endpoint]) -> Sequence[Endpoint]:
        """See `Filter.keep`."""
        if request.subset is None:
            return candidates
        allowed = frozenset(request.subset)
        return [endpoint for endpoint in candidates if endpoint.address in allowed]
