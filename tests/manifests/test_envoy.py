"""Envoy's configuration out of the rendered ConfigMaps, run by the real Envoy with a real picker and simulated servers.

What is rewritten: ports, as those of the manifests may be taken here; addresses to listen on, to loopback; and who
resolves names, to a name server of the test's. Pods are addresses of 127.0.0.0/8 with one port, as in a pool.
"""

import asyncio
import copy
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest
import yaml
from tests.e2e.picker import Picker
from tests.manifests.names import NameServer
from tests.manifests.render import MANIFESTS, find

from extproc.cli.demo.envoy import ISTIO, Envoy, GatewaySettings, envoy_config
from extproc.cli.demo.ports import choose_ports
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI = "microsoft/Phi-3-mini-4k-instruct"
GEMMA = "google/gemma-2b-it"
PODS = {"127.0.0.2": PHI, "127.0.0.3": PHI, "127.0.0.4": GEMMA}
PATH = "/v1/chat/completions"
CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
FORGED = {"x-forwarded-for": "10.0.0.1", "x-envoy-max-retries": "9", "x-envoy-retry-on": "connect-failure"}
POOL, PICKERS = "vllm-pool-headless", "extproc-headless"


class Site(NamedTuple):
    """A gateway, its picker, its pods by address, and the cluster's DNS."""

    envoy: Envoy
    picker: Picker
    pods: Mapping[str, SimServer]
    names: NameServer
    http: aiohttp.ClientSession

    async def ask(self, model: str, *, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status, and the model of the server that answered."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        async with self.http.post(PATH, json=body, headers=headers) as response:
            await response.read()
            return response.status, response.headers.get("x-served-by", "")

    async def hosts_are(self, cluster: str, *addresses: str) -> None:
        """Returns once Envoy has these hosts in a cluster, all healthy, and no others."""
        async with asyncio.timeout(20):
            while await self._hosts(cluster) != dict.fromkeys(addresses, True):
                await asyncio.sleep(0.05)  # Envoy has to be asked

    async def _hosts(self, cluster: str) -> dict[str, bool]:
        url = f"http://127.0.0.1:{self.envoy.admin_port}/clusters?format=json"
        async with self.http.get(url) as response:
            clusters = (await response.json(content_type=None))["cluster_statuses"]
        [found] = [each for each in clusters if each["name"] == cluster]
        return {
            host["address"]["socket_address"]["address"]: "failed_active_health_check" not in host["health_status"]
            and "pending_active_hc" not in host["health_status"]
            for host in found.get("host_statuses", [])
        }


def picker_settings(folder: str) -> Any:
    return yaml.safe_load(find(folder, "ConfigMap", "extproc-config")["data"]["config.yaml"])


def rewritten(folder: str, ports: Mapping[str, int], name_server: NameServer) -> Any:
    """A folder's envoy.yaml, fit to run here. `ports` are the clusters' by name."""
    config = yaml.safe_load(find(folder, "ConfigMap", "envoy-config")["data"]["envoy.yaml"])
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    config["static_resources"]["listeners"][1]["address"]["socket_address"]["port_value"] = ports["ready"]
    for cluster in config["static_resources"]["clusters"]:
        [locality] = cluster["load_assignment"]["endpoints"]
        [endpoint] = locality["lb_endpoints"]
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
        if cluster.get("type") != "STATIC":
            cluster["cluster_type"]["typed_config"]["typed_dns_resolver_config"] = {
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": CARES,
                    "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": name_server.port}}],
                    "dns_resolver_options": {"no_default_search_domain": True},
                },
            }
    config["admin"]["address"]["socket_address"]["port_value"] = ports["admin"]
    return config


@asynccontextmanager
async def serve(folder: str, *, without: str = "", **engine: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        ports = choose_ports({"admin": 0, "pool": 0, "ready": 0}, anywhere=True)
        pods = {}
        for host, model in PODS.items():
            pods[host] = SimServer(EngineSettings(name=model, models=(model,), time_to_first_token_s=0, **engine))
            await pods[host].start(host, ports["pool"])
            stack.push_async_callback(pods[host].stop)
        endpoints = {f"pod-{host}": pod.address for host, pod in pods.items()}
        settings = picker_settings(folder)
        settings["probes"] = {"models": {"interval": "1h"}}  # no probe finds a stopped pod before Envoy does
        picker = await stack.enter_async_context(Picker(endpoints, config=settings))
        ports["picker"] = int(picker.address.rpartition(":")[2])
        names = await stack.enter_async_context(NameServer({POOL: list(PODS), PICKERS: ["127.0.0.1"]}))
        config = rewritten(folder, ports, names)
        [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
        manager = chain["filters"][0]["typed_config"]
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != without]
        envoy = await stack.enter_async_context(Envoy(config))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        site = Site(envoy, picker, pods, names, http)
        await site.hosts_are("pool", *PODS)
        await site.hosts_are("picker", "127.0.0.1")
        assert envoy.log_text() == ""  # nothing deprecated, nothing advised against
        yield site


@pytest.mark.parametrize("folder", ["envoy", "envoy-tracking"])
async def test_every_first_attempt_reaches_a_server_of_its_model(folder: str) -> None:
    async with serve(folder) as site:
        for model in (PHI, GEMMA) * 20:
            assert await site.ask(model) == (200, model)
        assert await _retries(site) == 0
        assert await site.ask("nobody/knows") == (404, "")
        async with site.http.get("/v1/models") as response:
            assert [each["id"] for each in (await response.json())["data"]] == [GEMMA, PHI]


async def test_what_clients_send_of_the_pickers_headers_counts_for_nothing() -> None:
    async with serve("envoy") as site:
        sent = _forged(site)
        for _ in range(10):
            assert await site.ask(PHI, headers=sent) == (200, PHI)
        async with site.http.get("/v1/models", headers=sent) as response:
            assert response.status == 200
            assert "x-served-by" not in response.headers


async def test_without_the_pickers_word_no_header_leads_to_a_pod() -> None:
    """Were ext_proc to be skipped, as by a route that turns it off, nothing would be picked at all."""
    async with serve("envoy", without="envoy.filters.http.ext_proc") as site:
        assert await site.ask(PHI, headers=_forged(site)) == (503, "")


def _forged(site: Site) -> dict[str, str]:
    wrong = next(pod.address for pod in site.pods.values() if pod.engine.name == GEMMA)
    return {"x-gateway-destination-endpoint": wrong, "x-gateway-destination-endpoint-subset": wrong}


async def test_a_pod_that_died_unnoticed_costs_a_retry_and_no_request() -> None:
    async with serve("envoy") as site:
        await site.pods["127.0.0.2"].stop()
        for _ in range(10):
            assert await site.ask(PHI) == (200, PHI)
        assert await _retries(site) > 0
        await site.pods["127.0.0.4"].stop()
        before = await _retries(site)
        assert await site.ask(GEMMA, headers=FORGED) == (503, "")
        assert await _retries(site) == before + 2  # as many as the picker has listed, whatever the client says


async def _retries(site: Site) -> int:
    name = "cluster.pool.upstream_rq_retry"
    return (await site.envoy.stats(name))[name]


async def test_an_endpoint_that_dns_does_not_tell_of_is_a_503_and_never_another_pod() -> None:
    async with serve("envoy") as site:
        site.names.records[POOL] = ["127.0.0.2", "127.0.0.3"]
        await site.hosts_are("pool", "127.0.0.2", "127.0.0.3")
        assert await site.ask(GEMMA) == (503, "")
        none_healthy = (
            "cluster.pool.upstream_cx_none_healthy"  # Envoy's own word for it, and no_healthy_upstream its log's
        )
        assert await site.envoy.stats(none_healthy) == {none_healthy: 1}
        assert await site.ask(PHI) == (200, PHI)
        site.names.records[POOL] = list(PODS)
        await site.hosts_are("pool", *PODS)
        assert await site.ask(GEMMA) == (200, GEMMA)


async def test_a_killed_picker_cuts_no_answer_and_what_comes_after_gets_a_503() -> None:
    async with serve("envoy", default_tokens=40, token_delay_s=0.025) as site:
        body = {"model": PHI, "messages": [], "stream": True}
        async with site.http.post(PATH, json=body) as response:
            await response.content.readline()
            await site.picker.kill()
            rest = await response.read()
        assert response.status == 200
        assert rest.rstrip().endswith(b"data: [DONE]")
        for _ in range(3):
            assert await site.ask(PHI) == (503, "")


async def test_tracking_counts_what_is_in_flight() -> None:
    async with serve("envoy-tracking", default_tokens=200, token_delay_s=0.05) as site:
        body = {"model": GEMMA, "messages": [], "stream": True}
        async with site.http.post(PATH, json=body) as response:
            await response.content.readline()
            await site.picker.wait_for_metric("extproc_endpoint_inflight", 1, endpoint="pod-127.0.0.4")
        await site.picker.wait_for_metric("extproc_endpoint_inflight", 0, endpoint="pod-127.0.0.4")


class SecondPicker(Picker):
    """One at another address of loopback."""

    @property
    def address(self) -> str:
        return super().address.replace("127.0.0.1", "127.0.0.5")

    @property
    def health_address(self) -> str:
        return super().health_address.replace("127.0.0.1", "127.0.0.5")

    @property
    def metrics_url(self) -> str:
        return super().metrics_url.replace("127.0.0.1", "127.0.0.5")


async def test_replicas_share_the_requests_and_one_that_stops_is_left_in_time() -> None:
    async with serve("envoy") as site:
        endpoints = {f"pod-{host}": pod.address for host, pod in site.pods.items()}
        port = site.picker.address.rpartition(":")[2]
        flags = ("--listen-address=127.0.0.5", f"--grpc-port={port}", "--drain-delay=3s")
        async with SecondPicker(endpoints, config=picker_settings("envoy"), flags=flags) as second:
            site.names.records[PICKERS] = ["127.0.0.1", "127.0.0.5"]
            await site.hosts_are("picker", "127.0.0.1", "127.0.0.5")
            for _ in range(20):
                assert await site.ask(PHI) == (200, PHI)
            for picker in (site.picker, second):
                assert await picker.metric("extproc_requests_total", outcome="routed") > 5
            second.process.terminate()
            while second.process.returncode is None:
                assert await site.ask(PHI) == (200, PHI)
            assert await second.stop_code() == 0
        assert await site.ask(PHI) == (200, PHI)


async def test_the_kubelet_sees_whether_envoy_is_ready_and_nothing_of_the_admin_port() -> None:
    async with serve("envoy") as site:
        port = (await _listener_ports(site))["ready"]
        for path, status in (("/ready", 200), ("/quitquitquit", 404), ("/config_dump", 404), ("/ready/../stats", 404)):
            async with site.http.get(f"http://127.0.0.1:{port}{path}") as response:
                assert response.status == status, path
        async with site.http.post(f"http://127.0.0.1:{port}/ready") as response:
            assert response.status == 404


async def _listener_ports(site: Site) -> dict[str, int]:
    async with site.http.get(f"http://127.0.0.1:{site.envoy.admin_port}/listeners?format=json") as response:
        found = (await response.json(content_type=None))["listener_statuses"]
    return {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in found}


async def test_the_tracking_configuration_differs_in_the_response_phase_alone() -> None:
    def take(folder: str) -> tuple[Any, Any]:
        config = yaml.safe_load(find(folder, "ConfigMap", "envoy-config")["data"]["envoy.yaml"])
        [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
        ext_proc = chain["filters"][0]["typed_config"]["http_filters"][1]["typed_config"]
        modes = ext_proc["processing_mode"]
        phase = [modes.pop(f"response_{part}_mode") for part in ("header", "body", "trailer")]
        return config, (*phase, ext_proc.pop("response_attributes", None))

    plain, tracking = take("envoy"), take("envoy-tracking")
    assert plain[0] == tracking[0]
    assert plain[1] == ("SKIP", "NONE", "SKIP", None)
    assert tracking[1] == ("SEND", "NONE", "SEND", ["upstream.address"])


async def test_the_requests_of_the_job_tell_right_from_wrong() -> None:
    async with serve("envoy") as site:
        environment = {"GATEWAY": site.envoy.url, "REQUESTS": "5", "PATIENCE": "1"}
        code, output = await _run_job(environment)
        assert code == 0, output
        assert output.splitlines()[0].startswith(f"{PHI}: 5 of 5 at the first attempt, by {PHI}")
        await site.pods["127.0.0.4"].stop()
        code, output = await _run_job(environment)
        assert code == 1
        assert f"{PHI}: 5 of 5" in output
        assert f"{GEMMA}: not routed within 1 s: (503" in output


async def _run_job(environment: Mapping[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(MANIFESTS / "try" / "requests.py"), env=dict(environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.parametrize(("is_overridden", "seen"), [(False, 1), (True, 0)], ids=["as istiod has it", "overridden"])
async def test_istios_override_turns_the_response_phase_off(is_overridden: bool, seen: int) -> None:
    """The EnvoyFilter's route config in a real Envoy, over a filter with istiod's modes, that send whole responses."""
    [patch] = find("istio/no-response-phase", "EnvoyFilter", "extproc-no-response-phase")["spec"]["configPatches"]
    per_route = copy.deepcopy(patch["patch"]["value"])
    [override] = per_route["typed_per_filter_config"].values()
    override["overrides"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "picker"
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(SimServer(EngineSettings(name=PHI, models=(PHI,), default_tokens=1)))
        observe = {"envoy": {"responsePhase": "observe"}}
        picker = await stack.enter_async_context(Picker({"only": sim.address}, config=observe))
        gateway = GatewaySettings(
            endpoints=(sim.address,), picker=picker.address, pick_from="metadata", processing_mode=ISTIO
        )
        config: Any = envoy_config(gateway)
        [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
        [host] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        if is_overridden:
            host["routes"][0] |= per_route
        envoy = await stack.enter_async_context(Envoy(config))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        async with http.post(PATH, json={"model": PHI, "messages": []}) as response:
            assert (response.status, response.headers["x-served-by"]) == (200, PHI)
            await response.read()
        messages = "extproc_stream_messages_total"
        assert await picker.metric(messages, kind="request_headers", direction="in") == 1
        assert await picker.metric(messages, kind="response_headers", direction="in") == seen
