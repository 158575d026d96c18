"""sources/kubernetes: a pool and its pods are followed, on the double and on a real API server."""

from pathlib import Path

import pytest
from tests.api_objects import (
    ACTIVE_PORTS,
    LLMD_OBJECTIVES,
    LLMD_REWRITES,
    OBJECTIVES,
    PODS,
    POOLS_V1,
    POOLS_V1ALPHA2,
    REWRITES,
    Manifest,
    Resource,
    objective,
    pod,
    pod_status,
    pool_v1,
    pool_v1alpha2,
    rewrite,
)
from tests.cluster import Cluster
from tests.sources.kubernetes.following import LABELS, POOL, following

from extproc.settings.telling import TelemetrySettings
from extproc.sources.kubernetes.pools import Selection
from extproc.telemetry.logs import configure_logs

NAMES = (REWRITES, OBJECTIVES, LLMD_REWRITES, LLMD_OBJECTIVES)
NAMES_IDS = ["rewrites", "objectives", "llm-d's rewrites", "llm-d's objectives"]


def engine(name: str, ip: str = "10.0.0.1", *, ready: bool = True, **options: object) -> Manifest:
    return pod(name, LABELS, ip, ready, **options)  # type: ignore[arg-type]


async def test_a_pool_v1_and_its_pods(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(engine("a", "10.0.0.1"))
    await cluster.create(engine("b", "10.0.0.2", ready=False))
    await cluster.create(pod("pending", LABELS))
    await cluster.create(pod("other", {"app": "other"}, "10.0.0.9"))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True, b=False)
        a = told.snapshot.endpoints[told.id_of("a")]
        assert a.endpoint.address == "10.0.0.1:8000"
        assert a.endpoint.node == "node-a"
        assert a.endpoint.id == (await cluster.get(PODS, "a"))["metadata"]["uid"] + "/8000"
        assert told.connected == {"inferencepools": True, "pods": True}


async def test_a_pool_v1alpha2(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1ALPHA2)
    await cluster.create(pool_v1alpha2(POOL, LABELS, 8080))
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True)
        assert told.snapshot.endpoints[told.id_of("a")].endpoint.address == "10.0.0.1:8080"


async def test_a_selector_needs_no_pool(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.create(engine("a"))
    await cluster.create(pod("other", {"app": "llm", "tier": "test"}, "10.0.0.2"))
    selection = Selection("app in (llm),tier!=test", None, (8000, 8001))
    async with following(cluster, tmp_path, selection=selection) as told:
        await told.until(lambda: told.outline() == {"a:8000": True, "a:8001": True})
    assert cluster.gate.count("list", "/pods") == 1
    assert cluster.gate.count("list", "/apis/") == 0, "neither a pool nor names are asked for"


async def test_events_of_a_pod(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path, group=POOLS_V1.group) as told:
        await told.until_outline(a=True)
        await cluster.gate.wait_for_watch("pods")
        lists = cluster.gate.count("list", "/pods")

        await cluster.patch_status(PODS, "a", pod_status(["10.0.0.1"], ready=False))
        await told.until_outline(a=False)
        await cluster.patch_status(PODS, "a", pod_status(["10.0.0.1"], ready=True, restarts=2))
        await told.until_outline(a=True)
        assert told.snapshot.endpoints[told.id_of("a")].incarnation.startswith("2 restarts")

        await cluster.create(pod("late", LABELS))
        await cluster.patch_status(PODS, "late", pod_status(["10.0.0.2"], ready=True))
        await told.until_outline(a=True, late=True)
        await cluster.patch(PODS, "late", {"metadata": {"labels": {"app": "other"}}})
        await told.until_outline(a=True)
        await cluster.patch(PODS, "late", {"metadata": {"labels": LABELS}})
        await told.until_outline(a=True, late=True)

        await cluster.delete(PODS, "a", grace_s=30)
        await told.until_outline(a=False, late=True)
        await cluster.finish_deletion(PODS, "a")
        await told.until_outline(late=True)
        assert cluster.gate.count("list", "/pods") == lists


async def test_a_pod_that_is_made_anew_is_another(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True)
        before = told.id_of("a")
        await cluster.delete(PODS, "a", grace_s=0)
        await cluster.create(engine("a"))
        await told.until(lambda: told.outline() == {"a": True} and told.id_of("a") != before)


async def test_ports_addresses_and_annotations(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS, (8000, 8001)))
    await cluster.create(engine("a", "10.0.0.1"))
    await cluster.create(engine("six", "2001:db8::1", annotations={ACTIVE_PORTS: "8001"}))
    async with following(cluster, tmp_path) as told:
        await told.until(lambda: told.outline() == {"a:8000": True, "a:8001": True, "six:8001": True})
        assert told.snapshot.endpoints[told.id_of("six:8001")].endpoint.address == "[2001:db8::1]:8001"
        await cluster.patch(PODS, "six", {"metadata": {"annotations": {ACTIVE_PORTS: "8000"}}})
        await told.until(lambda: told.outline() == {"a:8000": True, "a:8001": True, "six:8000": True})
        await cluster.patch(POOLS_V1, POOL, {"spec": {"targetPorts": [{"number": 8001}]}})
        await told.until(lambda: told.outline() == {"a": True})
        assert told.snapshot.endpoints[told.id_of("a")].endpoint.address == "10.0.0.1:8001"


async def test_a_pool_that_selects_others_now(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("both", LABELS | {"gen": "2"}, "10.0.0.1"))
    await cluster.create(pod("old", LABELS, "10.0.0.2"))
    await cluster.create(pod("new", {"gen": "2"}, "10.0.0.3"))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(both=True, old=True)
        both = told.id_of("both")
        await cluster.patch(POOLS_V1, POOL, {"spec": {"selector": {"matchLabels": {"app": None, "gen": "2"}}}})
        await told.until_outline(both=True, new=True)
        assert told.id_of("both") == both
        await cluster.create(pod("newer", {"gen": "2"}, "10.0.0.4"))
        await told.until_outline(both=True, new=True, newer=True)


async def test_a_selector_counts_at_once_for_those_that_it_leaves_out(cluster: Cluster, tmp_path: Path) -> None:
    """Those that come in need a list, which here cannot be had."""
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(pod("both", LABELS | {"gen": "2"}, "10.0.0.1"))
    await cluster.create(pod("old", LABELS, "10.0.0.2"))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(both=True, old=True)
        cluster.gate.answer(503, path_part="pods")
        await cluster.patch(POOLS_V1, POOL, {"spec": {"selector": {"matchLabels": {"gen": "2"}}}})
        await told.until_outline(both=True)


async def test_a_pool_that_comes_goes_and_comes_back(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path) as told:
        await told.until(lambda: told.connected.get("inferencepools") is False)
        assert not told.snapshot.is_synced
        await cluster.install_crd(POOLS_V1)
        await told.until_connected("inferencepools")
        assert not told.snapshot.is_synced
        for _ in range(2):
            await cluster.create(pool_v1(POOL, LABELS))
            await told.until_outline(a=True)
            await cluster.delete(POOLS_V1, POOL)
            await told.until(lambda: not told.snapshot.endpoints)


async def test_the_first_group_that_has_the_pool_counts(cluster: Cluster, tmp_path: Path) -> None:
    for resource in (POOLS_V1, POOLS_V1ALPHA2):
        await cluster.install_crd(resource)
    await cluster.create(pool_v1alpha2(POOL, LABELS, 8080))
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path) as told:

        def address() -> str:
            return told.snapshot.endpoints[told.id_of("a")].endpoint.address

        await told.until_outline(a=True)
        assert address() == "10.0.0.1:8080"
        await cluster.create(pool_v1(POOL, LABELS, (8000,)))
        await told.until(lambda: address() == "10.0.0.1:8000")
        await cluster.delete(POOLS_V1, POOL)
        await told.until(lambda: address() == "10.0.0.1:8080")


async def test_a_group_that_is_named_is_the_only_one(cluster: Cluster, tmp_path: Path) -> None:
    for resource in (POOLS_V1, POOLS_V1ALPHA2):
        await cluster.install_crd(resource)
    await cluster.create(pool_v1(POOL, LABELS, (8000,)))
    await cluster.create(pool_v1alpha2(POOL, LABELS, 8080))
    await cluster.create(engine("a"))
    async with following(cluster, tmp_path, group=POOLS_V1ALPHA2.group) as told:
        await told.until_outline(a=True)
        assert told.snapshot.endpoints[told.id_of("a")].endpoint.address == "10.0.0.1:8080"


async def test_a_group_that_cannot_be_read_yet_is_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    """Else a start beside a faltering API server would serve the pool of the old group, and then another."""
    for resource in (POOLS_V1, POOLS_V1ALPHA2):
        await cluster.install_crd(resource)
    await cluster.create(pool_v1(POOL, LABELS, (8000,)))
    await cluster.create(pool_v1alpha2(POOL, LABELS, 8080))
    await cluster.create(engine("a"))
    refusal = cluster.gate.answer(503, path_part=POOLS_V1.group)
    async with following(cluster, tmp_path) as told:
        await cluster.gate.wait_for_watch(POOLS_V1ALPHA2.group)
        await cluster.gate.wait_until(lambda: refusal.count >= 3)
        assert not told.snapshot.is_synced
        cluster.gate.pass_on()
        await told.until_outline(a=True)
        assert told.snapshot.endpoints[told.id_of("a")].endpoint.address == "10.0.0.1:8000"


async def test_a_group_that_may_not_be_read_counts_as_none(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for resource in (POOLS_V1, POOLS_V1ALPHA2):
        await cluster.install_crd(resource)
    await cluster.create(pool_v1alpha2(POOL, LABELS, 8080))
    await cluster.create(engine("a"))
    await cluster.forbid(POOLS_V1)
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True)
        assert told.connected["inferencepools"]


async def test_many_pods_come_in_pages(double: Cluster, tmp_path: Path) -> None:
    await double.install_crd(POOLS_V1)
    await double.create(pool_v1(POOL, LABELS))
    assert double.double is not None
    for number in range(1201):
        manifest = engine(f"p{number}", f"10.1.{number >> 8}.{number & 255}", namespace=double.namespace)
        double.double.create(manifest)
    async with following(double, tmp_path, group=POOLS_V1.group) as told:
        await told.until(lambda: len(told.snapshot.endpoints) == 1201)
        assert told.reports == {"PoolListed": 1}
        assert double.gate.count("list", "/pods") == 3


@pytest.mark.parametrize(("rewrites", "objectives"), [(REWRITES, OBJECTIVES), (LLMD_REWRITES, LLMD_OBJECTIVES)])
async def test_names_that_come_change_and_go(
    cluster: Cluster, tmp_path: Path, rewrites: Resource, objectives: Resource
) -> None:
    for resource in (POOLS_V1, rewrites, objectives):
        await cluster.install_crd(resource)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(engine("a"))
    await cluster.create(rewrite("before", POOL, (["fast"], {"phi": 90, "gemma": 10}), resource=rewrites))
    async with following(cluster, tmp_path) as told:
        await told.until_outline(a=True)
        await told.until_names({"fast": "phi*90 gemma*10"})
        await cluster.create(rewrite("later", POOL, (["big"], {"gemma": 1}), resource=rewrites))
        await told.until_names({"fast": "phi*90 gemma*10", "big": "gemma*1"})
        await cluster.create(rewrite("foreign", "another", (["x"], {"phi": 1}), resource=rewrites))
        await cluster.create(objective("batch", POOL, -1, resource=objectives))
        await told.until_names({"fast": "phi*90 gemma*10", "big": "gemma*1"}, {"batch": -1})
        await cluster.patch(rewrites, "later", {"spec": {"poolRef": {"name": "another"}}})
        await told.until_names({"fast": "phi*90 gemma*10"}, {"batch": -1})
        await cluster.delete(rewrites, "before")
        await cluster.delete(objectives, "batch")
        await told.until_names({})
        assert told.outline() == {"a": True}


@pytest.mark.parametrize("resource", NAMES, ids=NAMES_IDS)
@pytest.mark.parametrize("is_served", [True, False], ids=["forbidden", "not served"])
async def test_names_that_cannot_be_read_are_no_trouble_and_picked_up(
    cluster: Cluster, tmp_path: Path, resource: Resource, is_served: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said once each, as a fact; readiness does not wait for them."""
    configure_logs(TelemetrySettings(verbosity=2))
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.create(engine("a"))
    if is_served:
        await cluster.forbid(resource)
        await cluster.install_crd(resource)
    is_rewrite = resource in (REWRITES, LLMD_REWRITES)
    manifest = (
        rewrite("r", POOL, (["fast"], {"phi": 1}), resource=resource)
        if is_rewrite
        else objective("batch", POOL, -1, resource=resource)
    )
    path = resource.path(cluster.namespace)
    async with following(cluster, tmp_path, group=POOLS_V1.group) as told:
        await told.until_outline(a=True)
        await cluster.gate.wait_until(lambda: cluster.gate.count("list", path) >= 3)
        if is_served:
            await cluster.create(manifest)
            await cluster.allow(resource)
        else:
            await cluster.install_crd(resource)
            await cluster.create(manifest)
        await told.until_names({"fast": "phi*1"} if is_rewrite else {}, {} if is_rewrite else {"batch": -1})
        assert told.connected == {"inferencepools": True, "pods": True}
    said = [line for line in capsys.readouterr().err.splitlines() if f"path={path}" in line]
    assert len(said) == 2, said
    assert "an optional resource of Kubernetes is not used" in said[0]
    assert "Kubernetes lets us list again" in said[1]
    assert not any("warning" in line.lower() for line in said)
