"""The picker as a process on Kubernetes: it starts, waits, serves on and stops, whatever is missing or away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests.api_objects import POOLS_V1, pool_v1
from tests.cluster import double_cluster
from tests.e2e.load import Outcome, run_load
from tests.e2e.picker import FLAGS, Picker
from tests.e2e.pods import LABELS, POOL, PodServer, Site, addresses, ask_for
from tests.e2e.test_process import run

from extproc.cli.demo.envoy import Envoy, GatewaySettings

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: %s
"""


class Pods:
    """Two pods of one model, with their servers up, which the API server may not have yet."""

    def __init__(self, site: Site, servers: list[PodServer]) -> None:
        self.site = site
        self.servers = servers
        self.addresses = tuple(server.address for server in servers)
        self.port = servers[0].port

    def create(self) -> None:
        for server in self.servers:
            self.site.create(server, ready=True)


@asynccontextmanager
async def two_pods() -> AsyncIterator[Pods]:
    async with AsyncExitStack() as stack:
        site = Site(await stack.enter_async_context(double_cluster()))
        ips, port = addresses(2)
        servers = [PodServer(f"phi-{number}", ip, port, "phi") for number, ip in enumerate(ips)]
        for server in servers:
            await stack.enter_async_context(server)
        yield Pods(site, servers)


async def health(picker: Picker, service: str) -> int:
    async with grpc.aio.insecure_channel(picker.health_address) as channel:
        status: int = (await HealthStub(channel).Check(HealthCheckRequest(service=service))).status
        return status


async def ask(picker: Picker, pods: Pods, *, count: int = 10) -> list[Outcome]:
    async with Envoy(GatewaySettings(endpoints=pods.addresses, picker=picker.address)) as envoy:
        return await run_load(envoy.port, count, 2, lambda _: ask_for("phi"), body_bytes=2)


@pytest.mark.parametrize("has_crd", [True, False], ids=["no pool", "no CRD"])
async def test_a_pool_that_is_missing_is_waited_for(tmp_path: Path, has_crd: bool) -> None:
    async with two_pods() as pods:
        cluster = pods.site.cluster
        if has_crd:
            await cluster.install_crd(POOLS_V1)
        pods.create()
        async with Picker(source=pods.site.flags(tmp_path), until_ready=False) as picker:
            await picker.wait_for_log("there is no such InferencePool")
            [line] = [line for line in picker.log_text().splitlines() if "there is no such InferencePool" in line]
            assert f"pool={cluster.namespace}/{POOL}" in line
            assert await health(picker, "liveness") == SERVING
            assert await health(picker, "readiness") == NOT_SERVING
            if not has_crd:
                await cluster.install_crd(POOLS_V1)
            await cluster.create(pool_v1(POOL, LABELS, (pods.port,)))
            async with asyncio.timeout(20):
                await picker.wait_until_ready()
            assert {outcome.status for outcome in await ask(picker, pods)} == {200}
            assert await picker.stop() == 0
            assert "Traceback" not in picker.log_text()


async def test_one_that_waits_for_its_pool_stops_in_peace(tmp_path: Path) -> None:
    async with two_pods() as pods, Picker(source=pods.site.flags(tmp_path), until_ready=False) as picker:
        await picker.wait_for_log("there is no such InferencePool")
        assert await picker.stop() == 0
        assert "stopped" in picker.log_text()
        assert "Traceback" not in picker.log_text()


async def test_an_api_server_that_never_answered_is_waited_for(tmp_path: Path) -> None:
    async with two_pods() as pods:
        await pods.site.install_pool(pods.port)
        pods.create()
        gate = pods.site.cluster.gate
        gate.refuse()
        async with Picker(source=pods.site.flags(tmp_path), until_ready=False) as picker:
            await picker.wait_for_log("Kubernetes cannot be reached to list")
            assert await health(picker, "liveness") == SERVING
            assert await health(picker, "readiness") == NOT_SERVING
            assert await picker.metric("extproc_source_connected", source="inferencepools") == 0
            await gate.accept()
            async with asyncio.timeout(20):
                await picker.wait_until_ready()


async def test_requests_go_on_while_the_api_server_is_away(tmp_path: Path) -> None:
    async with two_pods() as pods:
        await pods.site.install_pool(pods.port)
        pods.create()
        gate = pods.site.cluster.gate
        async with AsyncExitStack() as stack:
            picker = await stack.enter_async_context(Picker(source=pods.site.flags(tmp_path)))
            envoy = await stack.enter_async_context(
                Envoy(GatewaySettings(endpoints=pods.addresses, picker=picker.address))
            )
            has_returned = asyncio.Event()
            outcomes: list[Outcome] = []

            async def load() -> None:
                while not has_returned.is_set():
                    outcomes.extend(await run_load(envoy.port, 20, 2, lambda _: ask_for("phi"), body_bytes=2))
                    await asyncio.sleep(0.02)

            loading = asyncio.create_task(load())
            assert await picker.metric("extproc_source_connected", source="pods") == 1
            gate.refuse()
            gate.cut_streams("reset")
            await picker.wait_for_metric("extproc_source_connected", 0)
            ages = [await picker.metric("extproc_source_age_seconds", source="pods")]
            before = len(outcomes)
            pods.site.delete(pods.servers[0], grace_s=0)
            await asyncio.sleep(1.0)  # away for a while; nothing is to happen
            ages.append(await picker.metric("extproc_source_age_seconds", source="pods"))
            assert len(outcomes) > before
            assert await picker.metric("extproc_model_endpoints", model="phi") == 2
            await gate.accept()
            await picker.wait_for_metric("extproc_source_connected", 2)
            await picker.wait_for_metric("extproc_model_endpoints", 1, model="phi")
            ages.append(await picker.metric("extproc_source_age_seconds", source="pods"))
            has_returned.set()
            await loading
            assert await picker.stop() == 0
    assert ages[1] >= ages[0] + 1.0
    assert ages[2] < ages[1]
    assert {outcome.status for outcome in outcomes} == {200}
    assert all(outcome.whole for outcome in outcomes)


async def test_a_selector_needs_no_pool(tmp_path: Path) -> None:
    """Neither a pool nor its CRD is there, nor asked for."""
    async with two_pods() as pods:
        pods.create()
        cluster = pods.site.cluster
        source = (
            *pods.site.flags(tmp_path)[1:],
            "--endpoint-selector=app in (llm)",
            f"--endpoint-target-ports={pods.port}",
        )
        async with Picker(source=source) as picker:
            assert {outcome.status for outcome in await ask(picker, pods)} == {200}
            assert await picker.metric("extproc_source_connected", source="pods") == 1
    assert cluster.double is not None
    assert cluster.double.count("list", POOLS_V1) == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(None, ": there is no such file", id="there is none"),
        pytest.param("{", " cannot be used: ", id="no YAML"),
        pytest.param("[]", " cannot be used: ", id="no mapping"),
        pytest.param(KUBECONFIG % "other", "other", id="a context that it does not have"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_told_before_a_port_opens(
    tmp_path: Path, content: str | None, text: str
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    code, output = await run("serve", "--pool-name=llm", f"--kubeconfig={kubeconfig}", *FLAGS)
    assert code == 2
    assert "1 problem" in output
    assert f"source.kubeconfig: {kubeconfig}" in output
    assert text in output
    assert "serving" not in output
    assert "Traceback" not in output
