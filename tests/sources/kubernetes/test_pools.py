"""sources/kubernetes/pools: what a pool selects, whichever version states it."""

from typing import Any

import msgspec
import pytest
from tests.api_objects import pool_v1, pool_v1alpha2

from extproc.sources.kubernetes.objects import Decoder, InferencePool
from extproc.sources.kubernetes.pools import Selection, selection_of

LABELS = {"app": "llm", "example.test/tier": ""}
SELECTOR = "app=llm,example.test/tier="


def selected(spec: Any) -> tuple[Selection | None, str]:
    manifest = {"metadata": {"name": "llm"}, "spec": spec}
    return selection_of(Decoder(InferencePool).read(msgspec.json.encode(manifest)))


@pytest.mark.parametrize(
    ("spec", "ports"),
    [
        pytest.param(pool_v1("llm", LABELS)["spec"], (8000,), id="v1"),
        pytest.param(pool_v1("llm", LABELS, (8000, 8001))["spec"], (8000, 8001), id="v1 of two ports"),
        pytest.param(pool_v1("llm", LABELS, (8000, 8000))["spec"], (8000,), id="v1, a port twice"),
        pytest.param(pool_v1alpha2("llm", LABELS, 8080)["spec"], (8080,), id="v1alpha2"),
    ],
)
def test_what_a_pool_selects(spec: Any, ports: tuple[int, ...]) -> None:
    assert selected(spec) == (Selection(SELECTOR, LABELS, ports), "")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param({}, "no labels", id="nothing stated"),
        pytest.param({"selector": {}, "targetPortNumber": 1}, "no labels", id="no labels, v1alpha2"),
        pytest.param(
            {"selector": {"matchLabels": {}}, "targetPorts": [{"number": 1}]}, "no labels", id="no labels, v1"
        ),
        pytest.param(
            {"selector": {"matchLabels": None}, "targetPortNumber": 1}, "no mapping", id="labels that are null"
        ),
        pytest.param(
            {"selector": {"matchExpressions": []}, "targetPortNumber": 1}, "no labels", id="expressions alone"
        ),
        pytest.param({"selector": {"app": "llm"}}, "no target port", id="no port"),
        pytest.param({"selector": {"app": "llm"}, "targetPorts": []}, "no target port", id="no ports"),
        pytest.param({"selector": {"app": "llm"}, "targetPortNumber": 0}, "no target port", id="port 0"),
        pytest.param({"selector": {"app": "llm"}, "targetPortNumber": 65536}, "no target port", id="a port too high"),
    ],
)
def test_a_pool_that_selects_nothing_says_why(spec: Any, problem: str) -> None:
    selection, said = selected(spec)
    assert selection is None
    assert problem in said
