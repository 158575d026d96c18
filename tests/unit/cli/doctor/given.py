"""Evidence for the checks: a healthy picker, pool and cluster, and what a row of a table changes in them."""

import json
from typing import Any

from tests import api_objects

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.doctor.cluster import ClusterFacts, Right
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.health import HealthLook
from extproc.cli.doctor.objects import FullPod, FullPool, Service
from extproc.cli.doctor.ports import PortLook
from extproc.settings.load import load_settings
from extproc.sources.kubernetes.objects import Decoder
from extproc.sources.kubernetes.pools import Selection

V1, V1ALPHA2 = "inference.networking.k8s.io", "inference.networking.x-k8s.io"
ANSWERS = {
    "readiness": "SERVING",
    "": "SERVING",
    "envoy.service.ext_proc.v3.ExternalProcessor": "SERVING",
    "inference-extension": "SERVING",
    "liveness": "SERVING",
}


def endpoint(name: str = "phi-0", *models: str, **fields: Any) -> admin_pb2.Endpoint:
    """One that is well and serves `models` (phi), with a metrics page; `fields` differ."""
    given: dict[str, Any] = {
        "id": name,
        "name": name,
        "address": "10.0.0.1:8000",
        "is_ready": True,
        "is_confirmed": True,
        "models": models or ("phi",),
        "load": admin_pb2.Load(age_s=0.1),
    }
    return admin_pb2.Endpoint(**(given | fields))


def snapshot(*endpoints: admin_pb2.Endpoint, **fields: Any) -> admin_pb2.Snapshot:
    """Of a picker that is well, with these endpoints (one)."""
    every = endpoints or (endpoint(),)
    models = sorted({model for each in every for model in each.models})
    given: dict[str, Any] = {
        "pool": "default/llm",
        "extproc_version": "1.2.3",
        "uptime_s": 300.0,
        "is_synced": True,
        "is_ready": True,
        "sources": [admin_pb2.Source(name="pods", is_connected=True, age_s=0.2)],
        "endpoints": every,
        "models": [
            admin_pb2.Model(id=model, endpoints=[each.name for each in every if model in each.models])
            for model in models
        ],
        "callers": [admin_pb2.Caller(is_direct=True, streams=7)],
    }
    return admin_pb2.Snapshot(**(given | fields))


def port(number: int, speaks: Any = "plaintext HTTP/2", **fields: Any) -> PortLook:
    """A look at a port of 127.0.0.1."""
    return PortLook(f"127.0.0.1:{number}", speaks, **fields)


def evidence(*, config: str = "{server: {secureServing: false}, source: {poolName: llm}}", **fields: Any) -> Evidence:
    """Of a picker that is well; `config` is that of the picker."""
    given: dict[str, Any] = {
        "settings": load_settings(text=config, flag_values={}),
        "snapshot": snapshot(),
        "ext_proc_port": port(9002),
        "health_port": port(9003),
        "health": HealthLook("127.0.0.1:9003", ANSWERS),
    }
    return Evidence(**(given | fields))


def _read(kind: Any, manifest: api_objects.Manifest) -> Any:
    return Decoder(kind).read(json.dumps(manifest).encode())


def pool(**fields: Any) -> FullPool:
    """The InferencePool `llm` of v1."""
    read: FullPool = _read(FullPool, api_objects.pool_v1("llm", {"app": "llm"}, **fields))
    return read


def pod(name: str = "phi-0", labels: dict[str, str] | None = None, **changes: Any) -> FullPod:
    """A pod that is ready, declares port 8000, and has the label that the pool selects."""
    manifest = api_objects.pod(name, labels or {"app": "llm"}, "10.0.0.1")
    for path, value in changes.items():
        *keys, last = path.split("__")
        inner = manifest
        for key in keys:
            inner = inner[key]
        inner[last] = value
    read: FullPod = _read(FullPod, manifest)
    return read


def service(target: int | str, *, number: int = 9002, selector: dict[str, str] | None = None) -> Service:
    """The Service `picker`."""
    spec = {"selector": selector or {"app": "picker"}, "ports": [{"port": number, "targetPort": target}]}
    read: Service = _read(Service, {"metadata": {"name": "picker"}, "spec": spec})
    return read


def rights(**answers: str) -> list[Right]:
    """Every right is `yes`, but for those named, such as `list_pods_core` and `watch_inferencepools_v1`."""
    every = [
        ("pods", "", False),
        ("inferencepools", V1, False),
        ("inferencepools", V1ALPHA2, False),
        ("inferenceobjectives", V1ALPHA2, True),
    ]
    return [
        Right(verb, resource, group, is_optional, answers.get(f"{verb}_{resource}_{_short(group)}", "yes"))
        for resource, group, is_optional in every
        for verb in ("list", "watch")
    ]


def _short(group: str) -> str:
    return {"": "core", V1: "v1", V1ALPHA2: "alpha"}[group]


def cluster(**fields: Any) -> ClusterFacts:
    """One that has the pool and one ready pod, read with the picker's rights."""
    given: dict[str, Any] = {
        "origin": "the service account",
        "is_pickers": True,
        "namespace": "default",
        "rights": rights(),
        "pools": {V1: pool(), V1ALPHA2: None},
        "selection": Selection("app=llm", {"app": "llm"}, (8000,)),
        "pods": [pod()],
        "service": service(9002),
        "service_answer": "yes",
    }
    return ClusterFacts(**(given | fields))
