"""`extproc doctor` beside a real picker, whose pool is broken in many ways at once, and mended."""

import asyncio
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from tests.api_objects import PODS, POOLS_V1, pod, pool_v1
from tests.cluster import double_cluster
from tests.doctor.running import diagnose, of, read_states, run_doctor, until_known
from tests.doctor.services import serve_picker
from tests.doctor.sidecar import sidecar
from tests.doctor.test_engines import drop, engine, mesh_identity
from tests.doctor.test_ports import grpc_server
from tests.e2e.picker import Picker
from tests.e2e.pods import LABELS, POOL, PodServer, Site, addresses
from tests.raw_server import raw_server

from extproc.cli.demo.ports import EXT_PROC, HEALTH, choose_ports
from extproc.sim.engine import EngineSettings
from extproc.sim.failures import Failures
from extproc.sim.server import SimServer

NOBODY = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
"""


async def start_picker(
    stack: AsyncExitStack, *, tls: bool, flags: Sequence[str] = (), **given: Any
) -> tuple[Picker, Mapping[str, int]]:
    """A picker on ports that its settings name, as those that the system chooses are not in them; and these ports.

    They are free when they are chosen. Where another process is faster, others are tried.
    """
    while True:
        ports = choose_ports({EXT_PROC: 0, HEALTH: 0}, anywhere=True)
        fixed = (f"--grpc-port={ports[EXT_PROC]}", f"--grpc-health-port={ports[HEALTH]}")
        picker = Picker(flags=(f"--secure-serving={str(tls).lower()}", *fixed, *flags), **given)
        try:
            return await stack.enter_async_context(picker), ports
        except AssertionError as exc:
            await picker.__aexit__(None, None, None)
            if "it is in use" not in str(exc):
                raise


@contextmanager
def closed_ports(count: int) -> Iterator[list[str]]:
    """Addresses at which connections are refused: of sockets that hold their ports and do not listen."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        yield [f"127.0.0.1:{each.getsockname()[1]}" for each in held]


async def test_a_standalone_picker_broken_and_mended(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        phi = await stack.enter_async_context(SimServer(EngineSettings(models=("phi",))))
        gemma = await stack.enter_async_context(SimServer(EngineSettings(models=("gemma",))))
        keyed = await stack.enter_async_context(SimServer(EngineSettings(models=("x",), api_key="secret")))
        empty = EngineSettings(models=("x",), failures=Failures({"models-empty": 1.0}))
        listing_none = await stack.enter_async_context(SimServer(empty))
        paged = await stack.enter_async_context(engine("/v1/models", page="/prometheus/metrics"))
        elsewhere = await stack.enter_async_context(engine("/openai/v1/models"))
        strict = await stack.enter_async_context(engine("/v1/models", tls=mesh_identity(tmp_path)))
        mesh = await stack.enter_async_context(sidecar(phi.address, strict))
        other_mesh = await stack.enter_async_context(sidecar(gemma.address, strict))
        dropping = await stack.enter_async_context(raw_server(drop))
        closed = stack.enter_context(closed_ports(8))
        key, config = tmp_path / "key", tmp_path / "config.yaml"
        key.write_text("wrong-key-to-be-kept-secret")
        # An empty list of models is believed when it comes twice.
        in_order = yaml.safe_dump({"probes": {"models": {"interval": "300ms"}, "bearerTokenFile": str(key)}})
        config.write_text(in_order)
        flags = [f"--config-file={config}"]
        picker, _ = await start_picker(stack, tls=True, flags=flags, endpoints={"phi-0": phi.address})
        target = f"--target={picker.admin_address}"

        # Two engines with a model each, of which the list once flickered: nothing to say.
        picker.set_endpoints({"phi-0": phi.address, "gemma-0": gemma.address})
        await until_known(picker, lambda known: [model.id for model in known.models] == ["gemma", "phi"])
        await until_known(picker, lambda known: all(each.HasField("load") for each in known.endpoints))
        ran = await run_doctor(target)
        assert (ran.code, ran.errors) == (0, ""), ran.output
        assert "No fault found; " in ran.output
        assert "one list of 2: gemma on 1, phi on 1" in ran.output
        assert "offers h2" in ran.output
        assert max(map(len, ran.output.splitlines())) <= 80

        # Everything is wrong at once, each trouble with an engine of its own.
        troubled = {
            "keyed": keyed.address,
            "elsewhere": elsewhere,
            "dropping": f"127.0.0.1:{dropping}",
            "listing-none": listing_none.address,
            "paged": paged,
            **{f"a-{number}": address for number, address in enumerate(closed, 1)},  # more than are asked
        }
        picker.set_endpoints({"phi-0": phi.address, **troubled})
        await until_known(
            picker,
            lambda known: (
                len(known.endpoints) == 14 and all(each.problem or each.is_confirmed for each in known.endpoints)
            ),
        )
        await until_known(
            picker, lambda known: any(each.load_problem for each in known.endpoints if each.name == "paged")
        )
        found = await diagnose(picker.admin_address)
        told = {verdict.evidence: verdict for verdict in found if verdict.check == "engines"}
        for name, words, fix in (
            ("keyed", f"do not take the key in {key}", f"put the engines' API key into {key}"),
            ("elsewhere", "/openai/v1/models is answered", "probes.models.path"),
            ("dropping", "dropped without an answer", "PeerAuthentication"),
            ("listing-none", "empty", "has loaded no model"),
            ("a-1, a-2, a-3, a-4 and 4 more", "refused", "listens"),
        ):
            [trouble] = [verdict for verdict in told.values() if verdict.evidence.startswith(f"{name} ")]
            assert words in trouble.evidence
            assert fix in trouble.fix
        assert "probes.metrics.path: /prometheus/metrics" in of(found, "metrics pages").fix
        broken = await run_doctor(target, "--json")
        assert (broken.code, read_states(broken)["ext_proc port"]) == (1, "ok")
        assert "secret" not in broken.output + broken.errors + picker.log_text()

        # Every endpoint resets connections: a mesh wants its own TLS of the picker, until it is told to let it in.
        picker.set_endpoints({"phi-0": mesh.address, "gemma-0": other_mesh.address})
        await until_known(picker, lambda known: ["dropped" in each.problem for each in known.endpoints] == [True, True])
        trouble = of(await diagnose(picker.admin_address), "engines")
        assert trouble.state == "fault"
        assert "all 2: connections are dropped" in trouble.evidence
        assert "mutual TLS in mode STRICT" in trouble.evidence
        mesh.is_strict = other_mesh.is_strict = False
        await until_known(picker, lambda known: all(each.models and not each.problem for each in known.endpoints))
        assert of(await diagnose(picker.admin_address), "engines").state == "ok"

        # A bad edit of both files on top of it: what was known is kept.
        picker.write_file("pools: [")
        config.write_text("probes: {scheme: htp}")
        await until_known(picker, lambda known: not known.sources[0].is_connected and known.config_file.problems)
        found = await diagnose(picker.admin_address)
        source, configuration = of(found, "source"), of(found, "configuration")
        assert configuration.state == "fault"
        assert f"{config} is bad now" in configuration.evidence
        assert "probes.scheme" in configuration.evidence
        assert source.state == "fault"
        assert "is not YAML" in source.evidence
        assert "What was known is kept" in source.evidence

        picker.set_endpoints({"phi-0": phi.address})
        config.write_text(in_order)
        await until_known(picker, lambda known: not known.config_file.problems)
        await until_known(picker, lambda known: known.sources[0].is_connected and len(known.endpoints) == 1)
        await until_known(picker, lambda known: known.endpoints[0].HasField("load"))
        mended = await diagnose(picker.admin_address)
        assert not {"fault", "warning"} & {verdict.state for verdict in mended}


async def test_a_picker_in_kubernetes_broken_and_mended(tmp_path: Path) -> None:
    """In the picker's own pod: with its rights, and its probes to be seen."""
    async with AsyncExitStack() as stack:
        site = Site(await stack.enter_async_context(double_cluster()))
        cluster = site.cluster
        ips, port = addresses(2)
        await site.install_pool(port + 1)
        for model, ip in zip(("phi", "gemma"), ips, strict=True):
            site.create(await stack.enter_async_context(PodServer(f"{model}-0", ip, port, model)), ready=True)
        environ = {"HOSTNAME": "picker-0"}
        # The pool's namespace is what the picker says, whatever the doctor's own way to Kubernetes states.
        source = [flag for flag in site.flags(tmp_path) if "namespace" not in flag]
        picker, ports = await start_picker(stack, tls=False, source=source, until_ready=False)
        health = ports[HEALTH]
        serve_picker(cluster, ports[EXT_PROC])
        own = pod("picker-0", {"app": "picker"}, "10.9.9.9")
        container = own["spec"]["containers"][0]
        [closed] = stack.enter_context(closed_ports(1))
        container["startupProbe"] = {"grpc": {"port": int(closed.rpartition(":")[2]), "service": "liveness"}}
        container["readinessProbe"] = {"grpc": {"port": health, "service": "ready"}}
        container["livenessProbe"] = {"httpGet": {"port": health}}
        await cluster.create(own)
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(kubeconfig.read_text().replace(cluster.namespace, "elsewhere"))

        await until_known(picker, lambda known: any("refused" in each.problem for each in known.endpoints))
        found = await diagnose(picker.admin_address, environ=environ)
        opened, probes = of(found, "target ports"), of(found, "kubelet's probes")
        assert opened.state == probes.state == "fault"
        assert f"refuse connections on {port + 1}; their containers declare 8000" in opened.evidence
        assert (
            f"the startup probe asks port {container['startupProbe']['grpc']['port']}, where nothing" in probes.evidence
        )
        assert "for the service 'ready', and gets NOT_FOUND" in probes.evidence
        assert "over HTTP, where gRPC is spoken" in probes.evidence

        await cluster.forbid(POOLS_V1, "list")
        cluster.gate.cut_streams("reset", path_part="inferencepools")
        await until_known(picker, lambda known: any("403" in "".join(each.problems) for each in known.sources))
        found = await diagnose(picker.admin_address, environ=environ)
        heard, rights = of(found, "source"), of(found, "RBAC")
        assert heard.state == rights.state == "fault"
        assert 'cannot list resource "inferencepools"' in heard.evidence
        assert "may not list inferencepools" in rights.evidence
        assert cluster.token not in json.dumps(found)

        await cluster.allow(POOLS_V1, "list")
        await cluster.delete(PODS, "picker-0", grace_s=0)
        container["readinessProbe"]["grpc"]["service"] = "readiness"
        alive = {"grpc": {"port": health, "service": "liveness"}}
        container |= {"startupProbe": alive, "livenessProbe": alive}
        await cluster.create(own)
        await cluster.patch(POOLS_V1, POOL, {"spec": pool_v1(POOL, LABELS, (port,), failure_mode="FailOpen")["spec"]})
        async with asyncio.timeout(20):
            await picker.wait_until_ready()
        await until_known(picker, lambda known: all(each.is_connected for each in known.sources))
        found = await diagnose(picker.admin_address, environ=environ)
        assert of(found, "target ports").state == of(found, "kubelet's probes").state == "ok"
        assert {verdict.check for verdict in found if verdict.state == "fault"} == {"failure mode"}
        assert "FailOpen on a pool of 2 models" in of(found, "failure mode").evidence
        await cluster.patch(POOLS_V1, POOL, {"spec": {"endpointPickerRef": {"failureMode": "FailClose"}}})
        found = await diagnose(picker.admin_address, environ=environ)
        assert {verdict.check for verdict in found if verdict.state == "fault"} == set()
        assert of(found, "failure mode").state == "ok"


async def test_where_no_picker_runs_its_flags_are_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yaml"
    async with SimServer(EngineSettings(models=("phi",))) as phi:
        text = "pools: [{name: llm, endpoints: [{name: phi-0, address: '%s'}]}]"
        file.write_text(text % phi.address)
        ran = await run_doctor("--target=127.0.0.1:1", f"-endpointsFile={file}", "--json")
        states = read_states(ran)
        assert (ran.code, ran.errors) == (0, "")
        assert (states["picker"], states["engines"], states["models"]) == ("warning", "ok", "ok")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(NOBODY)
    ran = await run_doctor("--target=127.0.0.1:1", "--pool-name=llm", f"--kubeconfig={kubeconfig}", "--json")
    assert (ran.code, ran.errors, read_states(ran)["Kubernetes"]) == (1, "", "fault")
    flags = {"endpoints-file": str(file)}
    assert of(await diagnose(flags=flags), "engines").state == "fault"
    file.write_text("pools: [")
    assert of(await diagnose(flags=flags), "settings").state == "fault"
    file.write_text("pools: [{name: llm}]")
    assert of(await diagnose(flags=flags), "endpoints").state == "fault"
    async with grpc_server(tmp_path) as port:  # another gRPC server, such as the picker's own health port
        stranger = of(await diagnose(f"127.0.0.1:{port}", flags=flags), "picker")
    assert (stranger.state, "no admin service" in stranger.evidence) == ("fault", True)
