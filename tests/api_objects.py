"""Kubernetes objects for tests: the resources we know, and manifests that a real API server accepts.

A builder returns a whole object, status included. API servers take no status with a new object, so `create` of the
double and of `tests.cluster.Cluster` sends it afterwards, as the kubelet and the gateway do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

ACTIVE_PORTS = "llm-d.ai/active-ports"
CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Resource:
    """What an API server serves under one path. `is_custom`: by a CRD, whose objects are stored as they came."""

    group: str
    version: str
    plural: str
    kind: str
    is_custom: bool = False

    @property
    def api_version(self) -> str:
        """As `apiVersion` says it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def qualified(self) -> str:
        """As messages name it: `pods`, `inferencepools.inference.networking.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """The path of one object, of a namespace's, or of all."""
        within = f"/namespaces/{namespace}" if namespace else ""
        return f"{self.root}{within}/{self.plural}" + (f"/{name}" if name else "")


PODS = Resource("", "v1", "pods", "Pod")
POOLS_V1 = Resource("inference.networking.k8s.io", "v1", "inferencepools", "InferencePool", is_custom=True)
POOLS_V1ALPHA2 = Resource(
    "inference.networking.x-k8s.io", "v1alpha2", "inferencepools", "InferencePool", is_custom=True
)
REWRITES, OBJECTIVES, LLMD_REWRITES, LLMD_OBJECTIVES = (
    Resource(group, "v1alpha2", kind.lower() + "s", kind, is_custom=True)
    for group in ("inference.networking.x-k8s.io", "llm-d.ai")
    for kind in ("InferenceModelRewrite", "InferenceObjective")
)
RESOURCES = (PODS, POOLS_V1, POOLS_V1ALPHA2, REWRITES, OBJECTIVES, LLMD_REWRITES, LLMD_OBJECTIVES)


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """The resource that a manifest is of, by its `apiVersion` and `kind`."""
    wanted = (manifest["apiVersion"], manifest["kind"])
    return next(resource for resource in RESOURCES if (resource.api_version, resource.kind) == wanted)


def pod(
    name: str,
    labels: Mapping[str, str] | None = None,
    ip: str | None = None,
    ready: bool = True,
    *,
    namespace: str = "default",
    uid: str | None = None,
    restarts: int = 0,
    annotations: Mapping[str, str] | None = None,
    ips: Sequence[str] | None = None,
    terminating: bool = False,
    node: str = "node-a",
) -> Manifest:
    """A pod of one container on a node. Without `ip` and `ips` it is pending: no address, not ready.

    It has a node because a pod without one is deleted at once, whatever grace was asked for. `uid` is kept by the
    double's own `create` alone; an API server gives its own.
    """
    addresses = list(ips or ([ip] if ip else []))
    metadata: Manifest = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if uid:
        metadata["uid"] = uid
    if terminating:
        metadata |= {"deletionTimestamp": CREATED, "deletionGracePeriodSeconds": 30}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "engine", "image": "example.test/engine:1", "ports": [{"containerPort": 8000}]}],
        },
        "status": pod_status(addresses, ready=ready and bool(addresses), restarts=restarts),
    }


def pod_status(ips: Sequence[str], *, ready: bool, restarts: int = 0) -> Manifest:
    """The status that a kubelet would write."""
    told = "True" if ready else "False"
    status: Manifest = {
        "phase": "Running" if ips else "Pending",
        "conditions": [
            {"type": kind, "status": said, "lastProbeTime": None, "lastTransitionTime": CREATED}
            for kind, said in (("PodScheduled", "True"), ("ContainersReady", told), ("Ready", told))
        ],
    }
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
        status["containerStatuses"] = [
            {
                "name": "engine",
                "image": "example.test/engine:1",
                "imageID": "",
                "ready": ready,
                "restartCount": restarts,
                "state": {"running": {"startedAt": CREATED}},
            }
        ]
    return status


def pool_v1(
    name: str,
    match_labels: Mapping[str, str],
    ports: Sequence[int] = (8000,),
    *,
    namespace: str = "default",
    picker: str = "picker",
    picker_port: int = 9002,
    failure_mode: str = "FailClose",
    app_protocol: str | None = None,
) -> Manifest:
    """An InferencePool of `inference.networking.k8s.io/v1`."""
    spec: Manifest = {
        "selector": {"matchLabels": dict(match_labels)},
        "targetPorts": [{"number": port} for port in ports],
        "endpointPickerRef": {
            "group": "",
            "kind": "Service",
            "name": picker,
            "port": {"number": picker_port},
            "failureMode": failure_mode,
        },
    }
    if app_protocol:
        spec["appProtocol"] = app_protocol
    return _custom(POOLS_V1, name, namespace, spec)


def pool_v1alpha2(
    name: str,
    selector: Mapping[str, str],
    port: int = 8000,
    *,
    namespace: str = "default",
    picker: str = "picker",
    picker_port: int = 9002,
    failure_mode: str = "FailClose",
) -> Manifest:
    """An InferencePool of `inference.networking.x-k8s.io/v1alpha2`."""
    spec = {
        "selector": dict(selector),
        "targetPortNumber": port,
        "extensionRef": {
            "group": "",
            "kind": "Service",
            "name": picker,
            "portNumber": picker_port,
            "failureMode": failure_mode,
        },
    }
    return _custom(POOLS_V1ALPHA2, name, namespace, spec)


def rewrite(
    name: str,
    pool: str,
    *rules: tuple[Sequence[str], Mapping[str, int | None]],
    resource: Resource = REWRITES,
    namespace: str = "default",
) -> Manifest:
    """An InferenceModelRewrite. A rule: the models that it matches (none: all), and its targets with their weights."""
    spec = {
        "poolRef": {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": pool},
        "rules": [
            {
                "matches": [{"model": {"type": "Exact", "value": model}} for model in models],
                "targets": [
                    {"modelRewrite": target} | ({} if weight is None else {"weight": weight})
                    for target, weight in targets.items()
                ],
            }
            for models, targets in rules
        ],
    }
    return _custom(resource, name, namespace, spec)


def objective(
    name: str, pool: str, priority: int | None, *, resource: Resource = OBJECTIVES, namespace: str = "default"
) -> Manifest:
    """An InferenceObjective."""
    spec: Manifest = {"poolRef": {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": pool}}
    if priority is not None:
        spec["priority"] = priority
    return _custom(resource, name, namespace, spec)


def _custom(resource: Resource, name: str, namespace: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}
