"""What a Kubernetes source says is wrong with it, in words that the picker's snapshot and `doctor` carry."""

from pathlib import Path

import pytest
from tests.api_objects import PODS, POOLS_V1, Resource, pool_v1
from tests.cluster import Cluster
from tests.sources.kubernetes.following import LABELS, POOL, following

from extproc.sources.kubernetes.pools import GROUPS

V1, V1ALPHA2 = (group.name for group in GROUPS)


async def test_a_source_that_is_well_has_none(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    async with following(cluster, tmp_path) as told:
        await told.until(lambda: told.connected == {"inferencepools": True, "pods": True})
        assert told.problems == {"inferencepools": (), "pods": ()}


async def test_a_pool_that_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    async with following(cluster, tmp_path) as told:
        await told.until(lambda: len(told.problems.get("inferencepools", ())) == 2)
        missing, unserved = told.problems["inferencepools"]
        assert missing == f"there is no InferencePool {cluster.namespace}/{POOL} in {V1} or {V1ALPHA2}"
        assert unserved.startswith(
            f"list of /apis/{V1ALPHA2}/v1alpha2/namespaces/{cluster.namespace}/inferencepools: 404"
        )
        await cluster.create(pool_v1(POOL, LABELS))
        await told.until(lambda: not told.problems["inferencepools"])


async def test_while_one_group_has_not_answered_none_is_missing(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    cluster.gate.answer(503, path_part=V1ALPHA2)
    async with following(cluster, tmp_path) as told:
        await told.until(lambda: bool(told.problems.get("inferencepools")))
        await told.until(lambda: told.heard["inferencepools"] > 1)
        [problem] = told.problems["inferencepools"]
        assert "503" in problem
        cluster.gate.pass_on()
        await told.until(lambda: any("there is no" in each for each in told.problems["inferencepools"]))


@pytest.mark.parametrize(
    ("resource", "source"),
    [pytest.param(POOLS_V1, "inferencepools", id="the pool"), pytest.param(PODS, "pods", id="pods")],
)
@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_verb_that_is_missing(
    cluster: Cluster, tmp_path: Path, resource: Resource, source: str, verb: str
) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    await cluster.forbid(resource, verb)
    async with following(cluster, tmp_path, group=V1) as told:
        await told.until(lambda: any("403" in problem for problem in told.problems.get(source, ())))
        [problem] = [problem for problem in told.problems[source] if "403" in problem]
        assert problem.startswith(f"{verb} of {resource.path(cluster.namespace)}: 403: ")
        assert f'cannot {verb} resource "{resource.plural}"' in problem
        await cluster.allow(resource, verb)
        await told.until(lambda: told.connected[source] and not told.problems[source])


async def test_an_api_server_that_is_away(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, LABELS))
    async with following(cluster, tmp_path, group=V1) as told:
        await told.until(lambda: told.connected == {"inferencepools": True, "pods": True})
        cluster.gate.refuse()
        await told.until(lambda: all("onnect" in "".join(problems) for problems in told.problems.values()))
        await cluster.gate.accept()
        await told.until(lambda: not any(told.problems.values()))


async def test_a_pool_that_selects_nothing(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.install_crd(POOLS_V1)
    await cluster.create(pool_v1(POOL, {}))
    async with following(cluster, tmp_path) as told:
        what = f"the InferencePool {cluster.namespace}/{POOL} selects nothing: its selector has no labels"
        await told.until(lambda: told.problems.get("inferencepools") == (what,))
        assert told.connected["inferencepools"]
        await cluster.patch(POOLS_V1, POOL, {"spec": {"selector": {"matchLabels": LABELS}}})
        await told.until(lambda: not told.problems["inferencepools"])
