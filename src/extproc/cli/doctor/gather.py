"""Looks and asks, everything at once and each with a bound. Nothing is changed, and nothing that fails is an error."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, NamedTuple, TypeVar

import grpc

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.admin_client import AdminError, open_admin
from extproc.cli.doctor.asking import ASK_S, EngineLook, ask_engines
from extproc.cli.doctor.cluster import ClusterFacts, ClusterReader
from extproc.cli.doctor.evidence import Evidence, ProbeLook
from extproc.cli.doctor.health import ask_health
from extproc.cli.doctor.objects import FullPod
from extproc.cli.doctor.ports import look_at_port
from extproc.cli.doctor.standin import stand_in
from extproc.errors import ConfigError, ExtprocError
from extproc.inputs import read_inputs
from extproc.settings.load import load_settings
from extproc.settings.schema import Settings
from extproc.sources.choice import find_kubernetes
from extproc.values.endpoint import Endpoint

PICKER_S = 3.0
LOOKS_S = 3 * ASK_S
"""At everything else, all at once: with the former the bound of all. Engines are asked twice, one after the other."""
ANYWHERE = ("[::]", "0.0.0.0")

T = TypeVar("T")


class Asked(NamedTuple):
    """What the command line says."""

    settings: Settings
    """Of the flags and file."""
    target: str
    token_file: str | None
    envoy_admin: str | None
    environ: Mapping[str, str]
    given_flags: tuple[str, ...] | None = None
    """Flags of serve, by name; None: `settings` are what is meant, wherever they come from."""

    @property
    def knows_settings(self) -> bool:
        """The command line says what `settings` are."""
        return self.given_flags is None or bool(self.given_flags)


async def gather(asked: Asked) -> Evidence:
    """All the evidence there is. Errors: click.UsageError for a token file that cannot be read."""
    known = await _ask_picker(asked)
    looks = await asyncio.gather(
        _look_at_picker(known, asked),
        _look_at_pool(known, asked),
        _read_envoy(asked.envoy_admin),
    )
    return Evidence(**known, **{key: value for look in looks for key, value in look.items()})


async def _ask_picker(asked: Asked) -> dict[str, Any]:
    known: dict[str, Any] = {
        "settings": asked.settings,
        "knows_settings": asked.knows_settings,
        "target": asked.target,
        "wants_envoy": asked.envoy_admin is not None,
    }
    try:
        async with asyncio.timeout(PICKER_S):
            config, snapshot = await asyncio.to_thread(_ask_admin, asked.target, asked.token_file)
    except TimeoutError:
        return known | {"snapshot_problem": f"no picker answers at {asked.target} within {PICKER_S:g} s"}
    except AdminError as exc:
        is_away = exc.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return known | {"snapshot_problem": str(exc), "is_refused": not is_away}
    known |= {"snapshot": snapshot, "unused_flags": asked.given_flags or ()}
    try:
        told = load_settings(text=config.yaml, flag_values={})
        return known | {"settings": told, "knows_settings": True}
    except ConfigError as exc:
        return known | {"config_problem": "; ".join(str(problem) for problem in exc.problems)}


def _ask_admin(target: str, token_file: str | None) -> tuple[admin_pb2.Config, admin_pb2.Snapshot]:
    with open_admin(target, token_file) as client:
        return client.config(), client.snapshot()


async def _look_at_picker(known: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """At its ports. A port of 0 was chosen by the system, and only its log says which."""
    if known.get("snapshot") is None or known.get("config_problem"):
        return {}
    server = known["settings"].server
    host = find_host(known["settings"], asked.target)
    ports = {"ext_proc_port": server.grpc_port, "health_port": server.grpc_health_port}
    looks = await asyncio.gather(*(look_at_port(host, port) for port in ports.values() if port))
    by_port = dict(zip([port for port in ports.values() if port], looks, strict=True))
    found: dict[str, Any] = {name: by_port.get(port) for name, port in ports.items()}
    health = found["health_port"]
    if health is not None and health.speaks == "plaintext HTTP/2":
        found["health"] = await ask_health(health.address)
    return found


def find_host(settings: Settings, target: str) -> str:
    """Where the picker's ports are: where it listens, if that is one address, else where its admin service is."""
    listen = settings.server.listen_address
    return target.rpartition(":")[0] or "127.0.0.1" if listen in ANYWHERE else listen


async def _look_at_pool(known: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """At what the pool is made of: the source, Kubernetes' objects, the engines."""
    settings: Settings = known["settings"]
    snapshot: admin_pb2.Snapshot | None = known.get("snapshot")
    found: dict[str, Any] = {}
    ends_at_s = time.monotonic() + LOOKS_S
    if snapshot is None:
        inputs = read_inputs(settings, environ=asked.environ, clock=time.monotonic, rng=Random())  # noqa: S311 - jitter
        found["start_problems"] = [str(problem) for problem in (*inputs.missing, *inputs.problems)]
        if inputs.source is not None and not inputs.problems:
            found["own"], _ = await _within(stand_in(inputs.source, settings), LOOKS_S)
            snapshot = found["own"]
    cluster, (engines, _) = await asyncio.gather(
        _look_at_cluster(known, snapshot, asked, ends_at_s),
        _within(_ask_engines(settings, snapshot), ends_at_s - time.monotonic()),
    )
    found |= {**cluster, "engines": engines or {}}
    return found


async def _look_at_cluster(
    known: Mapping[str, Any], snapshot: admin_pb2.Snapshot | None, asked: Asked, ends_at_s: float
) -> dict[str, Any]:
    """At Kubernetes' objects, and then at the probes that the picker's own pod has."""
    settings: Settings = known["settings"]
    reading = _read_cluster(settings, snapshot, asked.environ)
    cluster, problem = await _within(reading, ends_at_s - time.monotonic())
    found: dict[str, Any] = {"cluster": cluster, "cluster_problem": problem}
    if cluster is not None and cluster.own_pod is not None and known.get("snapshot") is not None:
        asking = _ask_as_kubelet(cluster.own_pod, find_host(settings, asked.target))
        found["probes"] = (await _within(asking, ends_at_s - time.monotonic()))[0] or ()
    return found


async def _read_cluster(
    settings: Settings, snapshot: admin_pb2.Snapshot | None, environ: Mapping[str, str]
) -> ClusterFacts | None:
    """What Kubernetes says; None where the pool is not in it. Errors: ConfigError where it cannot be reached."""
    source = settings.source
    if not (source.pool_name or source.endpoint_selector):
        return None
    way = find_kubernetes(source, environ)
    namespace = snapshot.pool.partition("/")[0] if snapshot is not None else way.namespace
    is_pickers = snapshot is None or bool(source.kubeconfig) or way.access.is_service_account
    reader = ClusterReader(way.access, namespace, is_pickers=is_pickers)
    return await reader.read(
        pool=source.pool_name or "",
        group=source.pool_group,
        selection=way.selection,
        own_pod=environ.get("HOSTNAME"),
    )


async def _ask_engines(settings: Settings, snapshot: admin_pb2.Snapshot | None) -> dict[str, EngineLook]:
    """Some of the endpoints that something is wrong with, the various problems first."""
    endpoints = snapshot.endpoints if snapshot is not None else []
    troubled = [each for each in endpoints if each.problem or each.load_problem or not each.models]
    first_of: dict[tuple[bool, str], str] = {}
    for each in troubled:
        kind = (each.problem or each.load_problem).partition(":")[0]
        first_of.setdefault((bool(each.problem), kind), each.id)
    troubled.sort(key=lambda each: each.id not in first_of.values())
    looks = await ask_engines(
        [Endpoint(id=each.id, name=each.name, address=each.address, engine=each.engine) for each in troubled],
        settings.probes,
    )
    return {look.address: look for look in looks}


async def _ask_as_kubelet(pod: FullPod, host: str) -> list[ProbeLook]:
    """What the probes of the picker's own pod get, asked here as the kubelet asks."""
    looks = []
    for container in pod.spec.containers or ():
        for kind in ("startup", "liveness", "readiness"):
            probe = getattr(container, f"{kind}_probe")
            if probe is None:
                continue
            if probe.grpc is not None:
                looks.append(_ask_probe(kind, host, probe.grpc.port, probe.grpc.service or ""))
            elif probe.http_get is not None and isinstance(probe.http_get.port, int):
                looks.append(_ask_probe(kind, host, probe.http_get.port, None))
    return list(await asyncio.gather(*looks))


async def _ask_probe(kind: str, host: str, port: int, service: str | None) -> ProbeLook:
    look = await look_at_port(host, port)
    answer = ""
    if service is not None and look.speaks == "plaintext HTTP/2":
        answer = (await ask_health(look.address, (service,))).answers[service]
    return ProbeLook(kind=kind, port=port, service=service, port_look=look, answer=answer)


async def _read_envoy(url: str | None) -> dict[str, Any]:
    if url is None:
        return {}
    from extproc.cli.doctor.envoy_admin import read_envoy

    facts, problem = await _within(read_envoy(url), LOOKS_S)
    return {"envoy": facts, "envoy_problem": problem}


async def _within(work: Coroutine[Any, Any, T], seconds: float) -> tuple[T | None, str]:
    """What comes of it, or the reason why nothing does."""
    try:
        async with asyncio.timeout(seconds):
            return await work, ""
    except TimeoutError:
        return None, f"no whole answer within {seconds:.1f} s"
    except ConfigError as exc:
        return None, "; ".join(str(problem) for problem in exc.problems)
    except ExtprocError as exc:
        return None, str(exc)
