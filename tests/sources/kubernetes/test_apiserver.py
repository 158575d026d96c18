"""What an API server does, asked of the double and, where there is one, of a real kube-apiserver."""

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.api_objects import (
    PODS,
    POOLS_V1,
    POOLS_V1ALPHA2,
    Manifest,
    Resource,
    pod,
    pod_status,
    pool_v1,
    pool_v1alpha2,
)
from tests.api_selectors import parse_labels
from tests.api_status import CONTINUE_EXPIRED, ApiError
from tests.cluster import Cluster, double_cluster
from tests.real_apiserver import PICKER_USER, serving_pair

POOLS = [
    pytest.param(POOLS_V1, pool_v1("pool", {"app": "x"}), id="v1"),
    pytest.param(POOLS_V1ALPHA2, pool_v1alpha2("pool", {"app": "x"}), id="v1alpha2"),
]


def names(listed: Manifest) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


def version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])


def told(events: list[Manifest]) -> list[tuple[str, str]]:
    """Types and names; bookmarks have none."""
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


async def create_pods(cluster: Cluster, *given: str, **labels: str) -> Manifest:
    """Creates pods without a status; returns the last."""
    for name in given:
        manifest = pod(name, labels)
        del manifest["status"]
        last = await cluster.create(manifest)
    return last


async def test_a_pod_is_created_and_then_gets_its_status(cluster: Cluster) -> None:
    given = pod("a", {"app": "x"}, "10.0.0.1", restarts=3, annotations={"k": "v"})
    stored = await cluster.create(given)
    assert stored == await cluster.get(PODS, "a")
    metadata = stored["metadata"]
    assert (metadata["generation"], metadata["labels"], metadata["annotations"]) == (1, {"app": "x"}, {"k": "v"})
    assert {"uid", "creationTimestamp", "resourceVersion"} <= metadata.keys()
    for key in ("phase", "podIP", "podIPs", "conditions"):
        assert stored["status"][key] == given["status"][key]
    assert stored["status"]["containerStatuses"][0]["restartCount"] == 3


async def test_a_pod_with_two_addresses(cluster: Cluster) -> None:
    stored = await cluster.create(pod("a", ips=["10.0.0.1", "fd00::1"]))
    assert stored["status"]["podIPs"] == [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]


@pytest.mark.parametrize(("resource", "manifest"), POOLS)
async def test_a_pool_is_stored_as_it_came(cluster: Cluster, resource: Resource, manifest: Manifest) -> None:
    await cluster.install_crd(resource)
    stored = await cluster.create(manifest | {"status": {"parents": []}})
    assert stored["spec"] == manifest["spec"]
    assert "status" not in stored or stored["status"] == {"parents": []}
    stored = await cluster.patch_status(resource, "pool", {"parents": [{"parentRef": {"name": "gateway"}}]})
    assert stored["status"] == {"parents": [{"parentRef": {"name": "gateway"}}]}
    assert stored["metadata"]["generation"] == 1
    stored = await cluster.patch(resource, "pool", {"spec": {"selector": manifest["spec"]["selector"]}, "status": {}})
    assert stored["metadata"]["generation"] == 1
    ref = "endpointPickerRef" if resource == POOLS_V1 else "extensionRef"
    stored = await cluster.patch(resource, "pool", {"spec": {ref: {"name": "other"}}})
    assert stored["metadata"]["generation"] == 2


async def test_a_change_that_changes_nothing_is_no_event(cluster: Cluster) -> None:
    stored = await cluster.create(pod("a", {"app": "x"}, "10.0.0.1"))
    assert version(await cluster.patch(PODS, "a", {"metadata": {"labels": {"app": "x"}}})) == version(stored)
    assert version(await cluster.patch_status(PODS, "a", {"phase": "Running"})) == version(stored)


async def test_an_update_of_an_old_version_is_refused(cluster: Cluster) -> None:
    old = await create_pods(cluster, "a")
    await cluster.patch(PODS, "a", {"metadata": {"labels": {"n": "1"}}})
    with pytest.raises(ApiError) as refused:
        await cluster.request("PUT", PODS.path(cluster.namespace, "a"), old)
    assert isinstance(refused.value.body, dict)
    assert (refused.value.code, refused.value.body["reason"]) == (409, "Conflict")


async def test_lists_of_pods_have_untyped_items_and_lists_of_pools_typed_ones(cluster: Cluster) -> None:
    await cluster.install_crd(POOLS_V1)
    await create_pods(cluster, "a")
    await cluster.create(pool_v1("p", {}))
    pods, pools = await cluster.list(PODS), await cluster.list(POOLS_V1)
    assert [(listed["kind"], listed["apiVersion"]) for listed in (pods, pools)] == [
        ("PodList", "v1"),
        ("InferencePoolList", "inference.networking.k8s.io/v1"),
    ]
    assert {"kind", "apiVersion"}.isdisjoint(pods["items"][0])
    assert pools["items"][0]["kind"] == "InferencePool"
    assert list(pods) == ["kind", "apiVersion", "metadata", "items"]
    assert list(pools) == ["apiVersion", "items", "kind", "metadata"]
    assert pods["metadata"].keys() == {"resourceVersion"}
    assert pools["metadata"].keys() == {"continue", "resourceVersion"}


async def test_pages_show_one_version_across_a_concurrent_change(cluster: Cluster) -> None:
    await create_pods(cluster, *"abcde")
    first = await cluster.list(PODS, limit=2)
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a", "b"], 3)
    await cluster.delete(PODS, "d", grace_s=0)
    await create_pods(cluster, "bb")
    second = await cluster.list(PODS, limit=2, **{"continue": first["metadata"]["continue"]})
    third = await cluster.list(PODS, limit=2, **{"continue": second["metadata"]["continue"]})
    assert (names(second), names(third)) == (["c", "d"], ["e"])
    assert version(first) == version(second) == version(third)
    assert "continue" not in third["metadata"]
    assert names(await cluster.list(PODS)) == ["a", "b", "bb", "c", "e"]


async def test_pages_of_a_selection_do_not_count_what_remains(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "c", "e", app="x")
    await create_pods(cluster, "b", "f", app="y")
    page = await cluster.list(PODS, limit=2, labelSelector="app=x")
    assert (names(page), "remainingItemCount" in page["metadata"]) == (["a", "c"], False)
    last = await cluster.list(PODS, limit=2, labelSelector="app=x", **{"continue": page["metadata"]["continue"]})
    assert (names(last), "continue" in last["metadata"]) == (["e"], False)


async def test_a_list_of_any_version_has_no_pages(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "b")
    await cluster.list(PODS)  # a real server's cache is then as young as this
    assert names(await cluster.list(PODS, limit=1, resourceVersion="0")) == ["a", "b"]


async def test_a_page_token_expires_and_the_refusal_holds_one_that_goes_on(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "b", "c")
    page = await cluster.list(PODS, limit=1)
    await create_pods(cluster, "d")
    await cluster.compact()
    with pytest.raises(ApiError) as refused:
        await cluster.list(PODS, limit=1, **{"continue": page["metadata"]["continue"]})
    body: Any = refused.value.body
    assert (refused.value.code, body["reason"], body["code"]) == (410, "Expired", 410)
    assert body["message"] == CONTINUE_EXPIRED
    rest = await cluster.list(PODS, limit=9, **{"continue": body["metadata"]["continue"]})
    assert names(rest) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("selector", "found"),
    {
        "equal": ("app=x", "ab"),
        "equal twice": ("app==x", "ab"),
        "not equal": ("app!=x", "cd"),
        "in": ("app in (x, y)", "abc"),
        "not in": ("app notin (x,y)", "d"),
        "exists": ("app", "abc"),
        "does not exist": ("!app", "d"),
        "all of several": ("app in (x,y),tier=front", "b"),
        "a key with a prefix": ("llm-d.ai/role=decode", "c"),
        "an empty value": ("app=", ""),
    }.values(),
)
async def test_label_selectors(cluster: Cluster, selector: str, found: str) -> None:
    await create_pods(cluster, "a", app="x")
    await create_pods(cluster, "b", app="x", tier="front")
    await create_pods(cluster, "c", **{"app": "y", "llm-d.ai/role": "decode"})
    await create_pods(cluster, "d")
    assert names(await cluster.list(PODS, labelSelector=selector)) == list(found)


@pytest.mark.parametrize("selector", ["a b", "=x", "a=b=c", "a in x", "a,,b"])
async def test_a_label_selector_that_makes_no_sense(cluster: Cluster, selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.list(PODS, labelSelector=selector)
    assert refused.value.code == 400


def test_labels_that_are_compared_as_numbers() -> None:
    is_above, is_below = parse_labels("n>3"), parse_labels("n<3")
    four: Manifest = {"metadata": {"labels": {"n": "4"}}}
    assert (is_above(four), is_below(four), is_above({"metadata": {}})) == (True, False, False)


async def test_field_selectors(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "b")
    assert names(await cluster.list(PODS, fieldSelector="metadata.name=b")) == ["b"]
    assert names(await cluster.list(PODS, fieldSelector=f"metadata.namespace={cluster.namespace}")) == ["a", "b"]
    assert names(await cluster.list(PODS, fieldSelector="metadata.name!=a,status.phase=Pending")) == ["b"]
    with pytest.raises(ApiError, match=r"field label not supported: spec\.colour"):
        await cluster.list(PODS, fieldSelector="spec.colour=red")


async def test_pages_across_namespaces(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "b", "c")
    found: list[tuple[str, str]] = []
    query: dict[str, str | int] = {"limit": 2}
    while "limit" in query:
        page = await cluster.request("GET", PODS.path(), query=query)
        found += [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in page["items"]]
        token = page["metadata"].get("continue")
        query = {"limit": 2, "continue": token} if token else {}
    assert [name for namespace, name in found if namespace == cluster.namespace] == ["a", "b", "c"]
    assert len(set(found)) == len(found)


async def test_a_watch_resumes_after_the_version_of_a_list(cluster: Cluster) -> None:
    await create_pods(cluster, "a")
    listed = await cluster.list(PODS)
    await cluster.patch(PODS, "a", {"metadata": {"labels": {"n": "1"}}})
    await create_pods(cluster, "b")
    async with cluster.watch(PODS, resourceVersion=version(listed)) as watch:
        assert told([await watch.next_event() for _ in range(2)]) == [("MODIFIED", "a"), ("ADDED", "b")]
        await cluster.delete(PODS, "b", grace_s=0)
        event = await watch.next_event()
        assert (event["type"], event["object"]["metadata"]["deletionGracePeriodSeconds"]) == ("MODIFIED", 0)
        last = await watch.next_event()
        assert told([last]) == [("DELETED", "b")]
        assert version(last["object"]) == version(event["object"]) + 1
        assert last["object"]["kind"] == "Pod"


async def test_a_watch_from_a_version_to_come_tells_nothing_until_then(cluster: Cluster) -> None:
    stored = await create_pods(cluster, "a")
    async with cluster.watch(PODS, resourceVersion=version(stored) + 1_000_000, timeoutSeconds=1) as watch:
        await create_pods(cluster, "b")
        assert await watch.rest() == []


async def test_a_watch_from_no_version_tells_the_state_first(cluster: Cluster) -> None:
    await create_pods(cluster, "a", "b")
    await cluster.list(PODS)
    unset: dict[str, str] = {}
    for asked in (unset, {"resourceVersion": "0"}):
        async with cluster.watch(PODS, allowWatchBookmarks="true", **asked) as watch:
            events = [await watch.next_event() for _ in range(3)]
        assert told(events) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]
        assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_with_a_selector_sees_objects_come_and_go_as_they_match(cluster: Cluster) -> None:
    listed = await cluster.list(PODS)
    async with cluster.watch(PODS, resourceVersion=version(listed), labelSelector="app=x") as watch:
        await create_pods(cluster, "a", app="y")
        await create_pods(cluster, "b", app="x")
        for label in ("x", "x2", "y", "x"):
            changed = await cluster.patch(PODS, "a", {"metadata": {"labels": {"app": label}}})
        await cluster.patch(PODS, "b", {"metadata": {"labels": {"n": "1"}}})
        events = [await watch.next_event() for _ in range(5)]
    assert told(events) == [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("MODIFIED", "b")]
    assert events[2]["object"]["metadata"]["labels"] == {"app": "x"}  # as it last matched, but
    assert version(events[1]["object"]) < version(events[2]["object"]) < version(changed)  # with this event's version


async def test_a_watch_of_one_name(cluster: Cluster) -> None:
    await cluster.install_crd(POOLS_V1)
    listed = await cluster.list(POOLS_V1)
    query: dict[str, str | int] = {"resourceVersion": version(listed), "fieldSelector": "metadata.name=mine"}
    async with cluster.watch(POOLS_V1, **query) as watch:
        await cluster.create(pool_v1("other", {}))
        await cluster.create(pool_v1("mine", {}))
        await cluster.delete(POOLS_V1, "mine")
        assert told([await watch.next_event() for _ in range(2)]) == [("ADDED", "mine"), ("DELETED", "mine")]


async def test_deletion_with_grace(cluster: Cluster) -> None:
    stored = await cluster.create(pod("a", {}, "10.0.0.1"))
    async with cluster.watch(PODS, resourceVersion=version(stored)) as watch:
        await cluster.delete(PODS, "a", grace_s=20)
        event = await watch.next_event()
        assert told([event]) == [("MODIFIED", "a")]
        metadata = event["object"]["metadata"]
        assert (metadata["deletionGracePeriodSeconds"], metadata["generation"]) == (20, 2)
        assert metadata["deletionTimestamp"] > metadata["creationTimestamp"]
        assert (await cluster.get(PODS, "a"))["status"]["podIP"] == "10.0.0.1"
        await cluster.finish_deletion(PODS, "a")
        assert told([await watch.next_event() for _ in range(2)]) == [("MODIFIED", "a"), ("DELETED", "a")]
    with pytest.raises(ApiError, match="not found"):
        await cluster.get(PODS, "a")


async def test_a_pod_is_created_terminating(cluster: Cluster) -> None:
    stored = await cluster.create(pod("a", {}, "10.0.0.1", terminating=True))
    assert "deletionTimestamp" in stored["metadata"]


async def test_a_pod_without_a_node_gets_no_grace(cluster: Cluster) -> None:
    manifest = pod("a")
    del manifest["status"]
    del manifest["spec"]["nodeName"]
    await cluster.create(manifest)
    await cluster.delete(PODS, "a")
    assert names(await cluster.list(PODS)) == []


async def test_the_names_of_deleted_objects_are_free(cluster: Cluster) -> None:
    first = await create_pods(cluster, "a")
    with pytest.raises(ApiError) as refused:
        await create_pods(cluster, "a")
    assert (refused.value.code, str(refused.value)) == (409, '409: pods "a" already exists')
    await cluster.delete(PODS, "a", grace_s=0)
    assert (await create_pods(cluster, "a"))["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_watch_ends_cleanly_at_its_timeout_after_a_last_bookmark(cluster: Cluster) -> None:
    stored = await create_pods(cluster, "a")
    selector = {"labelSelector": "app=none", "allowWatchBookmarks": "true"}
    async with cluster.watch(PODS, resourceVersion=version(stored), timeoutSeconds=3, **selector) as watch:
        last = await create_pods(cluster, "b")
        events = await watch.rest()
    assert {event["type"] for event in events} == {"BOOKMARK"}
    mark = events[-1]["object"]
    assert version(mark) >= version(last)
    del mark["metadata"]["resourceVersion"]
    empty = {"spec": {"containers": None}, "status": {}}
    assert mark == {"kind": "Pod", "apiVersion": "v1", "metadata": {}, **empty}


async def test_who_allows_no_bookmarks_gets_none(cluster: Cluster) -> None:
    stored = await create_pods(cluster, "a")
    async with cluster.watch(PODS, resourceVersion=version(stored), timeoutSeconds=1) as watch:
        assert await watch.rest() == []


async def test_a_watch_from_a_version_too_old_is_an_error_event(cluster: Cluster) -> None:
    await cluster.install_crd(POOLS_V1)  # what a real server remembers of a resource begins here
    if cluster.double:
        await cluster.create(pool_v1("pool", {}))
        cluster.double.compact()
    async with cluster.watch(POOLS_V1, resourceVersion="1") as watch:
        assert watch.code == 200
        events = await watch.rest()
    assert [event["type"] for event in events] == ["ERROR"]
    body = events[0]["object"]
    assert body["message"].startswith("too old resource version: 1 (")
    del body["message"]
    assert body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "code"),
    {
        "no number": ({"resourceVersion": "abc"}, 400),
        "a limit that is none": ({"limit": "x"}, 400),
        "a token that is none": ({"continue": "xx", "limit": "2"}, 400),
        "a version to come": ({"resourceVersion": "100000000"}, 504),
    }.values(),
)
async def test_lists_that_make_no_sense(cluster: Cluster, query: dict[str, str], code: int) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.list(PODS, **query)
    assert refused.value.code == code


async def test_an_object_that_is_not_there(cluster: Cluster) -> None:
    await cluster.install_crd(POOLS_V1)
    with pytest.raises(ApiError) as refused:
        await cluster.get(POOLS_V1, "none")
    assert refused.value.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": 'inferencepools.inference.networking.k8s.io "none" not found', "reason": "NotFound",
        "details": {"name": "none", "group": "inference.networking.k8s.io", "kind": "inferencepools"}, "code": 404,
    }  # fmt: skip


@pytest.mark.parametrize(("resource", "manifest"), POOLS)
async def test_a_group_comes_and_goes(cluster: Cluster, resource: Resource, manifest: Manifest) -> None:
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            await cluster.list(resource)
        assert (refused.value.code, refused.value.body) == (404, "404 page not found\n")
        await cluster.install_crd(resource)
        assert names(await cluster.list(resource)) == []
        await cluster.create(manifest)
        async with cluster.watch(resource) as watch:
            assert told([await watch.next_event()]) == [("ADDED", "pool")]
            await cluster.remove_crd(resource)
            assert told(await watch.rest()) == [("DELETED", "pool")]


async def test_discovery(cluster: Cluster) -> None:
    root = await cluster.request("GET", "/api")
    assert (root["kind"], root["versions"]) == ("APIVersions", ["v1"])
    core = await cluster.request("GET", "/api/v1")
    verbs = next(set(entry["verbs"]) for entry in core["resources"] if entry["name"] == "pods")
    assert verbs >= {"get", "list", "watch"}
    with pytest.raises(ApiError, match="404 page not found"):
        await cluster.request("GET", POOLS_V1.root)
    await cluster.install_crd(POOLS_V1)
    group: Manifest = {}
    async with asyncio.timeout(20):
        while not group:  # a real server's discovery follows its resources
            groups = (await cluster.request("GET", "/apis"))["groups"]
            group = next((entry for entry in groups if entry["name"] == POOLS_V1.group), {})
    served = {"groupVersion": POOLS_V1.api_version, "version": "v1"}
    assert group == {"name": POOLS_V1.group, "versions": [served], "preferredVersion": served}
    resources = await cluster.request("GET", POOLS_V1.root)
    assert (resources["kind"], resources["groupVersion"]) == ("APIResourceList", POOLS_V1.api_version)
    assert [entry["name"] for entry in resources["resources"]] == ["inferencepools", "inferencepools/status"]
    assert resources["resources"][0]["kind"] == "InferencePool"


@pytest.mark.parametrize("path", ["/api/v9", "/api/v1/none", "/apis/apps/v9", "/apis/none.example/v1", "/none"])
async def test_paths_that_nobody_serves(cluster: Cluster, path: str) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.request("GET", path)
    is_known_below = path.startswith(("/api/", "/apis/apps"))
    message = "the server could not find the requested resource" if is_known_below else "page not found"
    assert (refused.value.code, isinstance(refused.value.body, dict)) == (404, is_known_below)
    assert message in str(refused.value)


@pytest.mark.parametrize("resource", [PODS, POOLS_V1], ids=["served", "not served"])
async def test_what_is_forbidden_is_refused_before_it_is_looked_for(cluster: Cluster, resource: Resource) -> None:
    await cluster.forbid(resource, "list")
    with pytest.raises(ApiError) as refused:
        await cluster.ask(resource.path(cluster.namespace))
    body: Any = refused.value.body
    assert (refused.value.code, body["reason"]) == (403, "Forbidden")
    assert body["message"] == (
        f'{resource.qualified} is forbidden: User "{PICKER_USER}" cannot list resource "{resource.plural}" '
        f'in API group "{resource.group}" in the namespace "{cluster.namespace}"'
    )
    await cluster.allow(resource)
    if resource == PODS:
        assert names(await cluster.ask(resource.path(cluster.namespace))) == []


async def test_verbs_are_forbidden_one_by_one(cluster: Cluster) -> None:
    await cluster.forbid(PODS, "watch")
    await cluster.ask(PODS.path(cluster.namespace))
    with pytest.raises(ApiError, match="cannot watch resource"):
        await cluster.ask(PODS.path(cluster.namespace), watch="true")


async def test_an_unknown_token_is_unauthorized(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.ask(PODS.path(cluster.namespace), token="none")
    assert refused.value.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    }  # fmt: skip


async def test_a_long_list_is_compressed_for_who_takes_it(cluster: Cluster) -> None:
    manifest = pod("a", annotations={"long": "x" * 200_000})
    await cluster.create(manifest)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    url = cluster.gate.url + PODS.path(cluster.namespace)
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        async with http.get(url, headers=headers | {"Accept-Encoding": "gzip"}) as compressed:
            assert compressed.headers["Content-Encoding"] == "gzip"
        async with http.get(url, headers=headers | {"Accept-Encoding": "identity"}) as plain:
            assert names(json.loads(await plain.read())) == ["a"]


# What only the double can be told.


async def test_too_old_as_a_status() -> None:
    async with double_cluster(status_410=True) as cluster:
        await create_pods(cluster, "a")
        await cluster.compact()
        async with cluster.watch(PODS, resourceVersion="1") as watch:
            body = json.loads(watch.refusal)
            assert (watch.code, body["reason"], body["code"]) == (410, "Expired", 410)


async def test_a_compacted_log_keeps_what_is_younger(double: Cluster) -> None:
    server = double.double
    assert server is not None
    first = await create_pods(double, "a")
    await create_pods(double, "b")
    server.compact(version(first))
    async with double.watch(PODS, resourceVersion=version(first)) as watch:
        assert told([await watch.next_event()]) == [("ADDED", "b")]
    async with double.watch(PODS, resourceVersion=version(first) - 1) as watch:
        assert [event["type"] for event in await watch.rest()] == ["ERROR"]


async def test_bookmarks_on_demand_and_by_period(double: Cluster) -> None:
    server = double.double
    assert server is not None
    await double.install_crd(POOLS_V1)
    query: dict[str, str | int] = {"allowWatchBookmarks": "true", "resourceVersion": server.store.revision}
    async with double.watch(POOLS_V1, **query) as watch, double.watch(POOLS_V1) as without:
        server.bookmark()  # says nothing new, and is not sent
        await create_pods(double, "a")
        server.bookmark()
        event = await watch.next_event()
        assert event["object"] == {
            "kind": "InferencePool",
            "apiVersion": POOLS_V1.api_version,
            "metadata": {"resourceVersion": str(server.store.revision)},
        }
        await double.remove_crd(POOLS_V1)
        assert await without.rest() == []
    async with double_cluster(bookmark_period_s=0.01) as cluster:
        await create_pods(cluster, "a")
        async with cluster.watch(
            PODS, resourceVersion="1", fieldSelector="metadata.name=none", allowWatchBookmarks="true"
        ) as watch:
            assert [(await watch.next_event())["type"] for _ in range(2)] == ["BOOKMARK", "BOOKMARK"]


async def test_a_rotated_token(double: Cluster) -> None:
    server = double.double
    assert server is not None
    async with double.watch_via_gate(PODS) as watch:
        server.rotate_token("fresh")
        with pytest.raises(ApiError, match="Unauthorized"):
            await double.ask(PODS.path(double.namespace))
        await double.ask(PODS.path(double.namespace), token="fresh")
        server.create(pod("a", namespace=double.namespace, uid="mine"))
        event = await watch.next_event()
        assert (event["type"], event["object"]["metadata"]["uid"]) == ("ADDED", "mine")


async def test_requests_are_recorded(double: Cluster) -> None:
    server = double.double
    assert server is not None
    await double.ask(PODS.path(double.namespace), limit=500)
    await double.ask("/api")
    async with double.watch(PODS):
        assert server.open_watches(PODS) == 1
    assert (server.count("list", PODS), server.count("watch", PODS), server.count("list")) == (1, 1, 1)
    seen = server.requests[0]
    assert (seen.method, seen.path, seen.query) == ("GET", PODS.path(double.namespace), {"limit": "500"})
    assert seen.authorization == f"Bearer {double.token}"
    assert server.requests[0].at_s <= server.requests[-1].at_s <= asyncio.get_running_loop().time()


async def test_the_methods_of_the_double_write_as_http_does(double: Cluster) -> None:
    server = double.double
    assert server is not None
    space = double.namespace
    stored = server.create(pod("a", {"app": "x"}, "10.0.0.1", namespace=space))
    assert stored == await double.get(PODS, "a")
    stored["metadata"]["labels"] = {"app": "y"}
    assert server.update(stored)["metadata"]["labels"] == {"app": "y"}
    server.patch(PODS, "a", {"metadata": {"labels": {"n": "1"}}}, namespace=space)
    server.patch_status(PODS, "a", pod_status(["10.0.0.2"], ready=False), namespace=space)
    stored = await double.get(PODS, "a")
    assert (stored["metadata"]["labels"], stored["status"]["podIP"]) == ({"app": "y", "n": "1"}, "10.0.0.2")
    assert "deletionTimestamp" in server.delete(PODS, "a", namespace=space)["metadata"]
    server.finish_deletion(PODS, "a", namespace=space)
    assert names(await double.list(PODS)) == []


async def test_over_tls(tmp_path: Path) -> None:
    certificate, key = serving_pair()
    (tmp_path / "crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    async with double_cluster(tls=context, certificate=tmp_path / "crt") as cluster:
        assert cluster.url.startswith("https")
        await create_pods(cluster, "a")
        assert names(await cluster.ask(PODS.path(cluster.namespace))) == ["a"]
