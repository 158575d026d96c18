"""The storm's pods change as Kubernetes changes pods: what a picker must heed is what the mix of the storm says."""

import msgspec
import pytest
from bench.pods import BenchPod

from extproc.sources.kubernetes.objects import Pod
from extproc.sources.kubernetes.pods import endpoints_of


@pytest.mark.parametrize(
    ("changes", "is_news"),
    [
        pytest.param({"written_s": 1}, False, id="a-status-written-anew"),
        pytest.param({"note": 1}, False, id="an-annotation"),
        pytest.param({"label": 1}, False, id="a-label"),
        pytest.param({"is_ready": False, "flipped_s": 1, "written_s": 1}, True, id="not-ready"),
        pytest.param({"flipped_s": 2, "written_s": 2}, True, id="ready-again"),
    ],
)
def test_only_readiness_bears_on_an_endpoint(changes: dict[str, int | bool], is_news: bool) -> None:
    pod = BenchPod.build(3, model="phi-3", address="127.1.0.4", port=8000)
    before = pod.encode(1)
    for name, value in changes.items():
        setattr(pod, name, value)
    after = pod.encode(2)
    assert before != after
    listed = [endpoints_of(msgspec.json.decode(text, type=Pod), [8000]) for text in (before, after)]
    assert len(listed[0]) == 1
    assert (listed[0] != listed[1]) == is_news
