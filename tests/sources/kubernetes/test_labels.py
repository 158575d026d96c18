"""sources/labels, from the settings to the endpoint: by a selector, by a pool, and as a label changes."""

import asyncio
import time
from pathlib import Path
from random import Random

import pytest
from tests.api_objects import PODS, POOLS_V1, pod, pool_v1
from tests.cluster import Cluster
from tests.sources.kubernetes.following import POOL, Following

from extproc.settings.schema import SourceSettings
from extproc.sources.choice import open_source
from extproc.sources.kubernetes.source import KubernetesPool

LABELS = {"app": "llm", "llm-d.ai/engine-type": "vllm", "engine": "sglang", "llm-d.ai/role": "decode"}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param({"endpointSelector": "app=llm", "endpointTargetPorts": [8000]}, id="a selector"),
        pytest.param({"poolName": POOL}, id="a pool"),
    ],
)
@pytest.mark.parametrize(
    ("key", "engine"), [pytest.param(None, "vllm", id="the usual label"), pytest.param("engine", "sglang", id="ours")]
)
async def test_the_engine_and_the_role_of_an_endpoint(
    double: Cluster, tmp_path: Path, source: dict[str, object], key: str | None, engine: str
) -> None:
    await double.install_crd(POOLS_V1)
    await double.create(pool_v1(POOL, {"app": "llm"}))
    await double.create(pod("a", LABELS, "10.0.0.1", True))
    kubeconfig = tmp_path / "kubeconfig"
    double.write_kubeconfig(kubeconfig)
    settings = {"poolNamespace": double.namespace, "kubeconfig": str(kubeconfig), "engineLabelKey": key}
    opened = open_source(
        SourceSettings.model_validate(source | settings), environ={}, clock=time.monotonic, rng=Random(1)
    )
    assert isinstance(opened, KubernetesPool)
    told = Following(opened)
    task = asyncio.create_task(opened.run(told.report, told))
    try:
        await told.until_outline(a=True)
        [state] = told.snapshot.endpoints.values()
        assert (state.endpoint.engine, state.endpoint.role) == (engine, "decode")
        await double.patch(PODS, "a", {"metadata": {"labels": {"llm-d.ai/role": "prefill"}}})
        await told.until(lambda: [each.endpoint.role for each in told.snapshot.endpoints.values()] == ["prefill"])
        assert told.snapshot.endpoints.keys() == {state.endpoint.id}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
