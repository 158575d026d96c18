"""scheduling/filters: who may get a request."""

import pytest
from tests.unit.known import endpoint

from extproc.scheduling.filters import SubsetFilter
from extproc.values.request import InferenceRequest, RouteToAny


@pytest.mark.parametrize(
    ("subset", "kept"),
    [
        pytest.param(None, "abc", id="no hint: all"),
        pytest.param((), "", id="an empty hint: none"),
        pytest.param(("10.0.0.3:8000", "10.0.0.1:8000"), "ac", id="those named, in the pool's order"),
        pytest.param(("10.0.0.9:8000",), "", id="one that is not in the pool"),
        pytest.param(("10.0.0.1:8001",), "", id="another port"),
        pytest.param(("10.0.0.1",), "", id="no port"),
        pytest.param(("10.0.0.2:8000", "10.0.0.2:8000"), "b", id="named twice"),
    ],
)
def test_subset(subset: tuple[str, ...] | None, kept: str) -> None:
    request = InferenceRequest(RouteToAny(), arrived_s=0.0, subset=subset)
    candidates = [endpoint(letter) for letter in "abc"]
    assert [each.id for each in SubsetFilter().keep(request, candidates)] == list(kept)
