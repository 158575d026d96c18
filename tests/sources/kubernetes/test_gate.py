"""Each switch of the gate, as a client sees it, before the double and, where there is one, a real server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config
from tests.api_gate import How
from tests.api_objects import PODS, Manifest, pod
from tests.api_status import ApiError
from tests.cluster import Cluster

MARK = b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}}'


def names(listed: Manifest) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


async def create_pods(cluster: Cluster, *given: str) -> str:
    """Creates pods without a status; returns the version of the last."""
    for name in given:
        manifest = pod(name)
        del manifest["status"]
        last = await cluster.create(manifest)
    return str(last["metadata"]["resourceVersion"])


async def test_requests_pass_and_are_counted(cluster: Cluster) -> None:
    await create_pods(cluster, "a")
    path, gate = PODS.path(cluster.namespace), cluster.gate
    assert await cluster.ask(path, limit=5) == await cluster.list(PODS, limit=5)
    assert await cluster.ask(f"{path}/a") == await cluster.get(PODS, "a")
    await cluster.ask("/api")
    with pytest.raises(ApiError, match="Unauthorized"):
        await cluster.ask(path, token="none")
    async with cluster.watch_via_gate(PODS) as watch:
        assert (await watch.next_event())["type"] == "ADDED"
        await gate.wait_for_watch("/pods")
        assert (gate.open_watches("/pods"), gate.open_watches("/inferencepools")) == (1, 0)
    await gate.wait_until(lambda: not gate.open_watches())
    assert {kind: gate.counts[kind] for kind in ("list", "get", "other", "watch", "write", "answered")} == {
        "list": 2, "get": 1, "other": 1, "watch": 1, "write": 0, "answered": 0,
    }  # fmt: skip


async def test_a_client_that_goes_away_ends_its_watch_at_the_server(double: Cluster) -> None:
    server = double.double
    assert server is not None
    async with double.watch_via_gate(PODS):
        await double.gate.wait_for_watch()
        assert server.open_watches(PODS) == 1
    await double.gate.wait_until(lambda: not double.gate.open_watches())
    async with asyncio.timeout(10):
        while server.open_watches(PODS):
            await asyncio.sleep(0)


async def test_the_clean_end_of_a_watch_passes(cluster: Cluster) -> None:
    version = await create_pods(cluster, "a")
    async with cluster.watch_via_gate(PODS, resourceVersion=version, timeoutSeconds=1) as watch:
        assert await watch.rest() == []


async def test_a_server_that_is_gone_and_comes_back(cluster: Cluster) -> None:
    path, gate = PODS.path(cluster.namespace), cluster.gate
    port = gate.port
    async with cluster.watch_via_gate(PODS) as watch:
        await gate.wait_for_watch()
        gate.refuse()
        with pytest.raises(aiohttp.ClientError):
            await watch.next_event()
    for _ in range(3):
        with pytest.raises(aiohttp.ClientConnectorError):
            await cluster.ask(path)
    await gate.accept()
    assert (names(await cluster.ask(path)), gate.port) == ([], port)


@pytest.mark.parametrize(
    ("code", "headers"),
    [(401, {}), (403, {}), (410, {}), (429, {"Retry-After": "1"}), (500, {}), (503, {"Retry-After": "2"})],
)
async def test_answers_in_the_place_of_the_server(cluster: Cluster, code: int, headers: dict[str, str]) -> None:
    path = PODS.path(cluster.namespace)
    given = cluster.gate.answer(code, headers=headers, times=2)
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            await cluster.ask(path)
        body: Any = refused.value.body
        assert (refused.value.code, body["kind"], body["code"]) == (code, "Status", code)
    assert names(await cluster.ask(path)) == []
    assert (given.count, cluster.gate.counts["answered"], cluster.gate.counts["list"]) == (2, 2, 3)


async def test_answers_have_the_headers_and_the_body_that_were_given(cluster: Cluster) -> None:
    cluster.gate.answer(503, "<html>", {"Retry-After": "7"})
    async with aiohttp.ClientSession() as http, http.get(cluster.gate.url + "/api") as answered:
        assert (answered.status, answered.headers["Retry-After"], await answered.text()) == (503, "7", "<html>")


async def test_answers_to_some_requests_alone(cluster: Cluster) -> None:
    path, gate = PODS.path(cluster.namespace), cluster.gate
    gate.answer(500, kinds=["watch"], path_part="/pods")
    gate.answer(404, path_part="/inferencepools")
    await cluster.ask(path)
    async with cluster.watch_via_gate(PODS) as watch:
        assert watch.code == 500
    with pytest.raises(ApiError):
        await cluster.ask(path.replace("pods", "inferencepools"))
    gate.pass_on()
    async with cluster.watch_via_gate(PODS) as watch:
        assert watch.code == 200


@pytest.mark.parametrize("how", ["clean", "torn", "eof", "reset"])
async def test_watches_that_are_cut(cluster: Cluster, how: How) -> None:
    gate = cluster.gate
    version = await create_pods(cluster, "a")
    async with cluster.watch_via_gate(PODS, resourceVersion=version) as watch:
        await create_pods(cluster, "b")
        assert (await watch.next_event())["object"]["metadata"]["name"] == "b"
        assert (gate.cut_streams(how, path_part="/inferencepools"), gate.cut_streams(how)) == (0, 1)
        match how:
            case "clean":
                assert await watch.rest() == []
            case "torn":
                assert not (await watch.next_line()).endswith(b"\n")
                with pytest.raises(EOFError):
                    await watch.next_line()
            case "eof":
                with pytest.raises(aiohttp.ClientPayloadError):
                    await watch.rest()
            case "reset":
                with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)) as lost:
                    await watch.rest()
                assert "Connection reset by peer" in str(lost.value)
    await gate.wait_until(lambda: not gate.open_watches())
    async with cluster.watch_via_gate(PODS, resourceVersion=version) as watch:
        assert (await watch.next_event())["object"]["metadata"]["name"] == "b"


async def test_silence(cluster: Cluster) -> None:
    gate = cluster.gate
    version = await create_pods(cluster, "a")
    async with cluster.watch_via_gate(PODS, resourceVersion=version) as watch:
        await gate.wait_for_watch()
        gate.go_silent()
        connections = gate.counts["connection"]
        waiting = asyncio.create_task(watch.next_event())
        listing = asyncio.create_task(cluster.ask(PODS.path(cluster.namespace)))
        await create_pods(cluster, "b")
        await gate.wait_for("connection", connections + 1)
        async with cluster.watch(PODS, resourceVersion=version) as direct:
            await direct.next_event()  # the server has told it
        assert (waiting.done(), listing.done(), gate.counts["list"]) == (False, False, 0)
        gate.speak()
        assert (await waiting)["object"]["metadata"]["name"] == "b"
        assert names(await listing) == ["a", "b"]


async def test_a_silent_watch_that_is_cut(cluster: Cluster) -> None:
    async with cluster.watch_via_gate(PODS) as watch:
        await cluster.gate.wait_for_watch()
        cluster.gate.go_silent()
        await create_pods(cluster, "a")
        cluster.gate.cut_streams("clean")
        assert await watch.rest() == []


async def test_a_lost_delete(cluster: Cluster) -> None:
    gate = cluster.gate
    version = await create_pods(cluster, "a", "b")
    loss = gate.drop_events(lambda event: bool(event["type"] == "DELETED"))
    async with cluster.watch_via_gate(PODS, resourceVersion=version) as watch:
        for name in ("a", "b"):
            await cluster.delete(PODS, name, grace_s=0)
        await gate.wait_for("dropped", 1)
        events = [await watch.next_event() for _ in range(3)]
    told = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
    assert told == [("MODIFIED", "a"), ("MODIFIED", "b"), ("DELETED", "b")]
    assert (loss.count, gate.counts["dropped"]) == (1, 1)


async def test_an_event_that_the_server_never_sent(cluster: Cluster) -> None:
    long = json.dumps({"type": "ADDED", "object": pod("long", annotations={"x": "x" * 3_000_000})}).encode()
    async with cluster.watch_via_gate(PODS) as watch:
        await cluster.gate.wait_for_watch()
        assert cluster.gate.inject_event(MARK) == 1
        assert await watch.next_line() == MARK + b"\n"
        cluster.gate.inject_event(long)
        assert await watch.next_line() == long + b"\n"


async def test_lines_of_any_length_pass_as_they_come(double: Cluster) -> None:
    server = double.double
    assert server is not None
    async with double.watch_via_gate(PODS) as watch:
        for size in (3_000_000, 1):
            name = f"pod-{size}"
            server.create(pod(name, namespace=double.namespace, annotations={"x": "x" * size}))
            event = await watch.next_event()
            assert (event["object"]["metadata"]["name"], event["type"]) == (name, "ADDED")
            assert (await watch.next_event())["type"] == "MODIFIED"


async def test_delay(cluster: Cluster) -> None:
    cluster.gate.delay_s = 0.05
    loop = asyncio.get_running_loop()
    began = loop.time()
    await cluster.ask(PODS.path(cluster.namespace))
    assert loop.time() - began >= 0.05


async def test_a_client_library_gets_through_with_the_kubeconfig(cluster: Cluster, tmp_path: Path) -> None:
    await create_pods(cluster, "a")
    (tmp_path / "token").write_text(cluster.token)
    for via_gate, token_file in ((True, None), (True, tmp_path / "token"), (False, None)):
        cluster.write_kubeconfig(tmp_path / "config", via_gate=via_gate, token_file=token_file)
        settings = kubernetes_client.Configuration()
        await kubernetes_config.load_kube_config(str(tmp_path / "config"), client_configuration=settings)  # type: ignore[no-untyped-call]
        async with kubernetes_client.ApiClient(settings) as api:
            listed = await kubernetes_client.CoreV1Api(api).list_namespaced_pod(cluster.namespace, limit=500)
        assert [item.metadata.name for item in listed.items if item.metadata] == ["a"]
    assert cluster.gate.counts["list"] == 2
