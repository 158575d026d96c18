"""What one object says of another is so: selectors, ports, names, and the numbers that stand in two files."""

import ast
import re
from typing import Any, NamedTuple

import pytest
import yaml
from tests.manifests.render import find, matches, of_kind, picker, pod_templates, render

from extproc.settings.load import load_settings
from extproc.settings.schema import Settings

PICKERS = ["base", "envoy", "envoy-tracking", "kind-envoy", "kind-envoy-pool", "kind-istio", "kind-istio-1.27"]
PICKERS += ["istio/1.27", "istio/1.28", "istio/no-response-phase"]
WITH_ENVOY = ["envoy", "envoy-tracking", "kind-envoy", "kind-envoy-pool"]
WITH_SIM = ["kind-envoy", "kind-envoy-pool", "kind-istio", "kind-istio-1.27"]
WITH_POOL = ["kind-envoy-pool", "istio/1.27", "istio/1.28", "istio/no-response-phase", "kind-istio", "kind-istio-1.27"]
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
BLOCK_BYTES = 250
"""Of a remembered block of a prompt, measured with an index of a million that had been full for a while."""
OWN_BYTES = 128 << 20
"""What a picker needs besides the bodies that it holds."""


def settings_of(folder: str) -> Settings:
    return load_settings(text=find(folder, "ConfigMap", "extproc-config")["data"]["config.yaml"], flag_values={})


def container_ports(template: Any) -> dict[str, int]:
    return {
        port["name"]: port["containerPort"]
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    }


@pytest.mark.parametrize("folder", [*WITH_SIM, "monitoring"])
def test_each_service_reaches_a_port_of_the_pods_that_it_selects(folder: str) -> None:
    templates = [template for _, template in pod_templates(folder if folder != "monitoring" else "base")]
    for service in of_kind(folder, "Service"):
        selected = [each for each in templates if matches(service["spec"]["selector"], each["metadata"]["labels"])]
        assert selected, service["metadata"]["name"]
        for template in selected:
            for port in service["spec"]["ports"]:
                target, ports = port.get("targetPort", port["port"]), container_ports(template)
                assert target in ports or target in ports.values(), (service["metadata"]["name"], target)


@pytest.mark.parametrize("folder", [*PICKERS, *WITH_SIM, "try"])
def test_probes_ask_ports_that_the_container_has(folder: str) -> None:
    for name, template in pod_templates(folder):
        ports = container_ports(template)
        for container in template["spec"]["containers"]:
            for probe in (container.get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")):
                for way in ("grpc", "httpGet", "tcpSocket"):
                    port = probe.get(way, {}).get("port")
                    assert port is None or port in ports or port in ports.values(), (name, probe)


@pytest.mark.parametrize("folder", PICKERS)
def test_the_picker_is_asked_for_the_health_that_it_tells(folder: str) -> None:
    container = picker(folder)
    asked = {kind: container[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}
    assert asked["readiness"] == {"port": 9003, "service": "readiness"}
    assert asked["liveness"] == asked["startup"] == {"port": 9003, "service": "liveness"}
    server = settings_of(folder).server
    assert {server.grpc_port, server.grpc_health_port, server.metrics_port} == {9002, 9003, 9090}


@pytest.mark.parametrize("folder", PICKERS)
def test_the_grace_period_holds_the_drain(folder: str) -> None:
    server = settings_of(folder).server
    grace_s = find(folder, "Deployment", "extproc")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s >= 2 * server.drain_delay_s + server.drain_timeout_s + 3


@pytest.mark.parametrize("folder", PICKERS)
def test_the_memory_limit_holds_the_bodies(folder: str) -> None:
    limit = picker(folder)["resources"]["limits"]["memory"]
    limit_bytes = int(limit[:-2]) * UNITS[limit[-2:]]
    settings = settings_of(folder)
    index_bytes = BLOCK_BYTES * settings.scheduling.prefix_blocks
    assert limit_bytes >= 4 * settings.requests.max_held_bytes + index_bytes + OWN_BYTES


@pytest.mark.parametrize("folder", [*PICKERS, "sim", "try"])
def test_openshifts_restricted_v2_takes_the_pods(folder: str) -> None:
    """It wants these fields and gives the user id itself. Envoy, for kind and minikube, states one."""
    for name, template in pod_templates(folder):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert ("runAsUser" in pod["securityContext"]) == (name == "envoy")
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() == {"name", "configMap"} for volume in pod.get("volumes", ()))
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["imagePullPolicy"] == "IfNotPresent"


@pytest.mark.parametrize("folder", [*WITH_SIM, "base", "try"])
def test_images_are_the_projects_own_or_envoys(folder: str) -> None:
    import extproc

    images = {each["image"] for _, template in pod_templates(folder) for each in template["spec"]["containers"]}
    assert images <= {f"extproc:{extproc.__version__}", "envoyproxy/envoy:distroless-v1.36.4"}


@pytest.mark.parametrize("folder", PICKERS)
def test_no_sidecar_comes_between_and_every_controller_finds_its_pods(folder: str) -> None:
    deployment = find(folder, "Deployment", "extproc")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar.istio.io/inject"] == "false"
    assert labels["istio.io/dataplane-mode"] == "none"
    [spread] = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [deployment["spec"]["selector"]["matchLabels"], spread["labelSelector"]["matchLabels"]]
    selectors.append(find(folder, "PodDisruptionBudget", "extproc")["spec"]["selector"]["matchLabels"])
    selectors.append(find(folder, "NetworkPolicy", "extproc")["spec"]["podSelector"]["matchLabels"])
    assert all(matches(selector, labels) for selector in selectors)
    others = [each for name, each in pod_templates(folder) if name != "extproc"]
    assert not any(matches(selector, each["metadata"]["labels"]) for selector in selectors for each in others)


@pytest.mark.parametrize("folder", PICKERS)
def test_the_role_is_what_the_picker_reads_and_no_more(folder: str) -> None:
    rules = {
        (group, resource): set(rule["verbs"])
        for rule in find(folder, "Role", "extproc")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    reads = {"get", "list", "watch"}
    assert rules == {
        ("", "pods"): reads,
        ("inference.networking.k8s.io", "inferencepools"): reads,
        ("inference.networking.x-k8s.io", "inferencepools"): reads,
        ("inference.networking.x-k8s.io", "inferencemodelrewrites"): reads,
        ("inference.networking.x-k8s.io", "inferenceobjectives"): reads,
        ("llm-d.ai", "inferencemodelrewrites"): reads,
        ("llm-d.ai", "inferenceobjectives"): reads,
    }
    binding = find(folder, "RoleBinding", "extproc")
    assert binding["roleRef"]["name"] == "extproc"
    account = find(folder, "Deployment", "extproc")["spec"]["template"]["spec"]["serviceAccountName"]
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert find(folder, "ServiceAccount", account)


def test_the_network_policy_lets_through_what_is_needed() -> None:
    policy = find("base", "NetworkPolicy", "extproc")["spec"]
    [ingress] = policy["ingress"]
    assert {port["port"] for port in ingress["ports"]} == set(container_ports_of_picker().values())
    assert ingress.keys() == {"ports"}  # from anywhere
    pods, api_server, dns = policy["egress"]
    assert pods == {"to": [{"podSelector": {}}]}  # on any port: an engine's is the pool's to say
    assert [(port["port"], port["protocol"]) for port in api_server.pop("ports")] == [
        (443, "TCP"), (6443, "TCP"), (8443, "TCP")
    ]  # fmt: skip
    assert {(port["port"], port["protocol"]) for port in dns.pop("ports")} == {
        (port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")
    }
    assert api_server == dns == {}  # anywhere


def container_ports_of_picker() -> dict[str, int]:
    return container_ports(find("base", "Deployment", "extproc")["spec"]["template"])


class Pool(NamedTuple):
    """An InferencePool of either version."""

    name: str
    labels: dict[str, str]
    ports: list[int]
    picker: Any
    picker_port: int


def pool_of(folder: str) -> Pool:
    pool = find(folder, "InferencePool", "vllm-pool")
    name, spec = pool["metadata"]["name"], pool["spec"]
    if pool["apiVersion"] == "inference.networking.k8s.io/v1":
        ref, ports = spec["endpointPickerRef"], [port["number"] for port in spec["targetPorts"]]
        return Pool(name, spec["selector"]["matchLabels"], ports, ref, ref["port"]["number"])
    ref = spec["extensionRef"]
    return Pool(name, spec["selector"], [spec["targetPortNumber"]], ref, ref["portNumber"])


@pytest.mark.parametrize("folder", WITH_POOL)
def test_the_pool_names_the_picker_and_the_picker_the_pool(folder: str) -> None:
    pool = pool_of(folder)
    service = find(folder, "Service", pool.picker["name"])
    [found] = service["spec"]["ports"]
    assert found["port"] == pool.picker_port == 9002
    assert found["name"].startswith("grpc-")
    assert found["appProtocol"] == "kubernetes.io/h2c"
    assert pool.picker["failureMode"] == "FailClose"
    assert f"--pool-name={pool.name}" in picker(folder)["args"]
    assert "--secure-serving=false" in picker(folder)["args"]


@pytest.mark.parametrize("folder", WITH_SIM)
def test_what_is_selected_are_servers_of_two_models(folder: str) -> None:
    if folder == "kind-envoy":
        [selector, ports] = [
            next(arg.partition("=")[2] for arg in picker(folder)["args"] if arg.startswith(flag))
            for flag in ("--endpoint-selector=", "--endpoint-target-ports=")
        ]
        labels, numbers = dict([selector.split("=")]), [int(ports)]
        assert not any(arg.startswith("--pool-name=") for arg in picker(folder)["args"])
        assert not any(of_kind(folder, "InferencePool"))
    else:
        _, labels, numbers, *_ = pool_of(folder)
    servers = [each for _, each in pod_templates(folder) if matches(labels, each["metadata"]["labels"])]
    models = set()
    for template in servers:
        [container] = template["spec"]["containers"]
        assert container["args"][0] == "sim"
        assert sorted(container_ports(template).values()) == numbers
        assert f"--port={numbers[0]}" in container["args"]
        models |= {arg.partition("=")[2] for arg in container["args"] if arg.startswith("--model=")}
    assert models == {"microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"} == models_of_the_job()


def models_of_the_job() -> set[str]:
    text = find("try", "ConfigMap", "try-requests")["data"]["requests.py"]
    [models] = re.findall(r'"MODELS", ("[^"]*")', text)
    return set(ast.literal_eval(models).split(","))


@pytest.mark.parametrize(
    "folder", ["istio/1.27", "istio/1.28", "istio/no-response-phase", "kind-istio", "kind-istio-1.27"]
)
def test_the_route_leads_from_the_gateway_to_the_pool_of_its_version(folder: str) -> None:
    pool = find(folder, "InferencePool", "vllm-pool")
    is_old = "1.27" in folder
    assert pool["apiVersion"] == f"inference.networking.{'x-k8s.io/v1alpha2' if is_old else 'k8s.io/v1'}"
    route = find(folder, "HTTPRoute", "llm")["spec"]
    [parent] = route["parentRefs"]
    assert find(folder, "Gateway", parent["name"])["spec"]["gatewayClassName"] == "istio"
    [rule] = route["rules"]
    [backend] = rule["backendRefs"]
    group = pool["apiVersion"].partition("/")[0]
    assert backend == {"group": group, "kind": "InferencePool", "name": pool["metadata"]["name"]}
    rule_of_picker = find(folder, "DestinationRule", "extproc")["spec"]
    assert find(folder, "Service", rule_of_picker["host"])
    assert rule_of_picker["trafficPolicy"]["tls"]["mode"] == "DISABLE"


def test_the_envoy_filter_names_the_route_and_the_cluster_as_istio_does() -> None:
    folder = "istio/no-response-phase"
    route = find(folder, "HTTPRoute", "llm")
    assert "name" not in route["spec"]["rules"][0]  # Istio would call the route by it
    spec = find(folder, "EnvoyFilter", "extproc-no-response-phase")["spec"]
    [patch] = spec["configPatches"]
    namespace, name = (route["metadata"][key] for key in ("namespace", "name"))
    assert patch["match"]["routeConfiguration"]["vhost"]["route"]["name"] == f"{namespace}.{name}.0"
    [override] = patch["patch"]["value"]["typed_per_filter_config"].values()
    service = find(folder, "Service", "extproc")["metadata"]
    cluster = override["overrides"]["grpc_service"]["envoy_grpc"]["cluster_name"]
    assert cluster == f"outbound|9002||{service['name']}.{service['namespace']}.svc.cluster.local"
    assert [target["name"] for target in spec["targetRefs"]] == [find(folder, "Gateway", "llm")["metadata"]["name"]]


@pytest.mark.parametrize("folder", WITH_ENVOY)
def test_envoy_retries_as_often_as_the_picker_lists_fallbacks_and_knows_its_services(folder: str) -> None:
    config = yaml.safe_load(find(folder, "ConfigMap", "envoy-config")["data"]["envoy.yaml"])["static_resources"]
    clusters = {cluster["name"]: cluster for cluster in config["clusters"]}
    [chain] = config["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    [host] = manager["route_config"]["virtual_hosts"]
    settings = settings_of(folder)
    assert host["routes"][0]["route"]["retry_policy"]["num_retries"] == settings.envoy.fallback_endpoints == 2
    for name in ("picker", "pool"):
        [locality] = clusters[name]["load_assignment"]["endpoints"]
        [endpoint] = locality["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        service = find(folder, "Service", address["address"])["spec"]
        assert service["clusterIP"] == "None"  # each pod's own address
        assert [port["port"] for port in service["ports"]] == [address["port_value"]]
        assert clusters[name]["circuit_breakers"]["thresholds"][0]["max_requests"] == 40_000
    ports = {each["name"]: each["address"]["socket_address"]["port_value"] for each in config["listeners"]}
    template = find(folder, "Deployment", "envoy")["spec"]["template"]
    assert {"http": ports["gateway"], "ready": ports["ready"]} == container_ports(template)
    pod = template["spec"]
    assert pod["terminationGracePeriodSeconds"] > pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_the_job_asks_the_gateway() -> None:
    [container] = find("try", "Job", "try")["spec"]["template"]["spec"]["containers"]
    [gateway] = [each["value"] for each in container["env"] if each["name"] == "GATEWAY"]
    service = find("kind-envoy", "Service", gateway.removeprefix("http://"))
    assert [port["port"] for port in service["spec"]["ports"]] == [80]


@pytest.mark.parametrize("folder", PICKERS)
def test_every_config_map_and_volume_is_there(folder: str) -> None:
    maps = {each["metadata"]["name"]: set(each["data"]) for each in render(folder) if each["kind"] == "ConfigMap"}
    for name, template in pod_templates(folder):
        volumes = {each["name"]: each["configMap"]["name"] for each in template["spec"].get("volumes", ())}
        for container in template["spec"]["containers"]:
            for mount in container.get("volumeMounts", ()):
                files = {f"{mount['mountPath']}/{file}" for file in maps[volumes[mount["name"]]]}
                words = " ".join((*container.get("args", ()), *container.get("command", ())))
                assert any(file in words for file in files), (name, files)
