"""`extproc doctor` on a pool in Kubernetes that is set up wrongly: an API server, broken and mended."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api_objects import (
    LLMD_OBJECTIVES,
    LLMD_REWRITES,
    OBJECTIVES,
    PODS,
    POOLS_V1,
    POOLS_V1ALPHA2,
    REWRITES,
    Resource,
    pod,
    pod_status,
    pool_v1,
    pool_v1alpha2,
)
from tests.cluster import Cluster, double_cluster
from tests.doctor.services import SERVICES, serve_picker
from tests.unit.cli.doctor.given import endpoint, evidence, snapshot

from extproc.cli.doctor import pods, pool, rights
from extproc.cli.doctor.cluster import ClusterFacts, ClusterReader
from extproc.cli.doctor.questions import MOST_PAGES
from extproc.cli.doctor.verdict import Verdict
from extproc.sources.kubernetes.access import find_access
from extproc.sources.kubernetes.pools import Selection

OPTIONAL = (OBJECTIVES, REWRITES, LLMD_OBJECTIVES, LLMD_REWRITES)
LABELS = {"app": "llm"}
BOTH = snapshot(endpoint("phi-0"), endpoint("gemma-0", "gemma"))


class Site:
    """A pool of one ready pod in a cluster, and the doctor's look at it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._kubeconfig = folder / "kubeconfig"
        cluster.write_kubeconfig(self._kubeconfig)

    async def set_up(self, manifest: Any = None) -> None:
        """Everything is as it should be; with `manifest` as the pool."""
        for resource in (POOLS_V1, POOLS_V1ALPHA2, *OPTIONAL):
            await self.cluster.install_crd(resource)
        await self.cluster.create(manifest or pool_v1("llm", LABELS))
        await self.cluster.create(pod("phi-0", LABELS, "10.0.0.1"))
        serve_picker(self.cluster, 9002)

    async def read(
        self, *, group: str | None = None, selection: Selection | None = None, most_pages: int = MOST_PAGES
    ) -> ClusterFacts:
        access = find_access(str(self._kubeconfig), environ={}, home=Path("/"))
        reader = ClusterReader(access, self.cluster.namespace, is_pickers=True, most_pages=most_pages)
        return await reader.read(pool="llm", group=group, selection=selection, own_pod="picker-0")

    async def judge(self, *, group: str | None = None, **given: Any) -> dict[str, Verdict]:
        """What the checks say of Kubernetes, by check."""
        config = f"{{server: {{secureServing: false}}, source: {{poolName: llm, poolGroup: {group or 'null'}}}}}"
        found = evidence(cluster=await self.read(group=group), config=config, **given)
        return {verdict.check: verdict for check in (rights, pool, pods) for verdict in check.check(found)}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with double_cluster() as cluster:
        yield Site(cluster, tmp_path)


async def test_a_pool_that_is_well(site: Site) -> None:
    await site.set_up()
    verdicts = await site.judge()
    assert {name: verdict.state for name, verdict in verdicts.items() if verdict.state != "ok"} == {}
    assert site.cluster.double is not None
    asked = [seen for seen in site.cluster.double.requests if f"Bearer {site.cluster.token}" == seen.authorization]
    assert {seen.verb for seen in asked} == {"get", "list", "watch"}


@pytest.mark.parametrize(
    ("resource", "verbs", "check", "state", "words"),
    [
        pytest.param(PODS, ("list",), "RBAC", "fault", "may not list pods in", id="list of pods"),
        pytest.param(PODS, ("watch",), "RBAC", "fault", "may not watch pods in", id="watch of pods"),
        pytest.param(POOLS_V1, ("list",), "RBAC", "fault", f"may not list {POOLS_V1.qualified}", id="list of pools"),
        pytest.param(POOLS_V1, ("watch",), "RBAC", "fault", f"may not watch {POOLS_V1.qualified}", id="watch of pools"),
        pytest.param(
            OBJECTIVES, (), "RBAC, optional", "warning", f"may not list {OBJECTIVES.qualified}", id="an optional kind"
        ),
    ],
)
async def test_a_verb_that_is_missing(
    site: Site, resource: Resource, verbs: tuple[str, ...], check: str, state: str, words: str
) -> None:
    await site.set_up()
    await site.cluster.forbid(resource, *verbs)
    broken = (await site.judge())[check]
    assert broken.state == state
    assert words in broken.evidence
    assert f"resources: [{resource.plural}]" in broken.fix
    await site.cluster.allow(resource, *verbs)
    mended = await site.judge()
    assert mended["RBAC"].state == "ok"
    assert "RBAC, optional" not in mended


async def test_an_api_server_that_is_away(site: Site) -> None:
    await site.set_up()
    site.cluster.gate.refuse()
    verdict = (await site.judge())["Kubernetes"]
    assert verdict.state == "fault"
    assert "Connect" in verdict.evidence or "connect" in verdict.evidence
    await site.cluster.gate.accept()
    assert (await site.judge())["Kubernetes"].state == "ok"


async def test_a_token_that_is_not_taken(site: Site) -> None:
    await site.set_up()
    assert site.cluster.double is not None
    site.cluster.double.rotate_token("another")
    verdict = (await site.judge())["Kubernetes"]
    assert (verdict.state, "401" in verdict.evidence) == ("fault", True)
    assert site.cluster.token not in str(verdict)
    site.cluster.double.rotate_token(site.cluster.token)
    assert (await site.judge())["Kubernetes"].state == "ok"


async def test_a_pool_that_is_missing(site: Site) -> None:
    verdict = (await site.judge())["InferencePool"]
    assert (verdict.state, "CRD" in verdict.fix) == ("fault", True)
    await site.cluster.install_crd(POOLS_V1)
    await site.cluster.create(pool_v1("lmm", LABELS))
    verdict = (await site.judge())["InferencePool"]
    assert (verdict.state, "there are lmm" in verdict.evidence) == ("fault", True)
    await site.cluster.create(pool_v1("llm", LABELS))
    assert (await site.judge())["InferencePool"].state == "ok"


async def test_a_pool_of_another_group(site: Site) -> None:
    await site.set_up(pool_v1alpha2("llm", LABELS))
    verdict = (await site.judge(group=POOLS_V1.group))["InferencePool"]
    assert (verdict.state, f"is in {POOLS_V1ALPHA2.group}" in verdict.evidence) == ("fault", True)
    mended = await site.judge()
    assert mended["InferencePool"].state == mended["ready pods"].state == "ok"


async def test_a_selector_that_matches_nothing(site: Site) -> None:
    await site.set_up(pool_v1("llm", {"app": "lmm"}))
    verdict = (await site.judge())["selector"]
    assert verdict.state == "fault"
    assert "app=lmm; of 1 other pod, app is llm" in verdict.evidence
    await site.cluster.patch(POOLS_V1, "llm", {"spec": {"selector": {"matchLabels": LABELS}}})
    assert (await site.judge())["selector"].state == "ok"


async def test_pods_that_are_not_ready(site: Site) -> None:
    await site.set_up()
    await site.cluster.patch_status(PODS, "phi-0", pod_status(["10.0.0.1"], ready=False))
    verdict = (await site.judge())["ready pods"]
    assert (verdict.state, "phi-0 (its readiness probe fails)" in verdict.evidence) == ("fault", True)
    await site.cluster.patch_status(PODS, "phi-0", pod_status(["10.0.0.1"], ready=True))
    assert (await site.judge())["ready pods"].state == "ok"
    await site.cluster.delete(PODS, "phi-0")
    verdict = (await site.judge())["ready pods"]
    assert (verdict.state, "phi-0 (terminating)" in verdict.evidence) == ("fault", True)


async def test_pods_beyond_the_first_page(site: Site) -> None:
    """Lists come in pages of 500, by name."""
    await site.set_up()
    assert site.cluster.double is not None
    for number in range(520):
        each = pod(f"vllm-{number:03}", LABELS, "10.0.0.2", number < 505, namespace=site.cluster.namespace)
        site.cluster.double.create(each)
    verdicts = await site.judge()
    assert "matches 521 pods" in verdicts["selector"].evidence
    assert verdicts["ready pods"].state == "warning"
    assert verdicts["ready pods"].evidence.startswith("506 of 521; not vllm-505 ")
    for most_pages, has_more, count in ((1, True, 500), (2, False, 521)):
        facts = await site.read(most_pages=most_pages)
        assert (facts.has_more_pods, len(facts.pods or ())) == (has_more, count)


async def test_a_pool_that_names_another_picker(site: Site) -> None:
    await site.set_up()
    serve_picker(site.cluster, 9003)
    assert (await site.judge())["endpointPickerRef"].state == "fault"
    await site.cluster.patch(POOLS_V1, "llm", {"spec": {"endpointPickerRef": {"name": "other"}}})
    verdict = (await site.judge())["endpointPickerRef"]
    assert (verdict.state, "no such Service" in verdict.evidence) == ("fault", True)
    serve_picker(site.cluster, 9002)
    await site.cluster.patch(POOLS_V1, "llm", {"spec": {"endpointPickerRef": {"name": "picker"}}})
    assert (await site.judge())["endpointPickerRef"].state == "ok"
    assert site.cluster.double is not None
    site.cluster.double.forbid(SERVICES, "get")
    assert (await site.judge())["endpointPickerRef"].state == "not checked"


async def test_fail_open_on_a_pool_of_two_models(site: Site) -> None:
    await site.set_up(pool_v1("llm", LABELS, failure_mode="FailOpen"))
    assert (await site.judge(snapshot=BOTH))["failure mode"].state == "fault"
    await site.cluster.patch(POOLS_V1, "llm", {"spec": {"endpointPickerRef": {"failureMode": "FailClose"}}})
    assert (await site.judge(snapshot=BOTH))["failure mode"].state == "ok"


async def test_a_selection_without_a_pool(site: Site) -> None:
    await site.cluster.create(pod("phi-0", LABELS, "10.0.0.1"))
    facts = await site.read(selection=Selection("app in (llm)", None, (8000,)))
    assert facts.pools is None
    assert [each.metadata.name for each in facts.pods or ()] == ["phi-0"]
    assert {right.resource for right in facts.rights} == {"pods"}
