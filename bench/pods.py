"""Pods as an API server writes them: what the Deployment of an engine on Kubernetes looks like, 9 KB each.

Encoded once: an event of a storm takes its sender microseconds, so that what is measured is what it takes the picker.
"""

import json
from dataclasses import dataclass, field
from typing import Any

NAMESPACE = "default"
PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
POOL = "bench"
SINCE = "2026-01-01T00:00:00Z"
_LABELS = {"app": "vllm", "inference.networking.k8s.io/engine-type": "vllm"}

# What differs between two versions of a pod, where it stands in the JSON.
_VERSION, _NOTE, _LABEL, _READY = "«version»", "«note»", "«label»", "«ready»"
_WRITTEN, _FLIPPED = "2026-01-01T11:11:11Z", "2026-01-01T22:22:22Z"


def address_of(index: int, model: int) -> str:
    """A loopback address of its own for each pod, in the net of its model: 127.{1 + model}.0.0/16."""
    return f"127.{1 + model}.{index // 250}.{1 + index % 250}"


@dataclass(slots=True)
class BenchPod:
    """One pod, and what of it changes in a storm."""

    name: str
    is_ready: bool = True
    note: int = 0
    """An annotation's value."""
    label: int = 0
    written_s: int = 0
    """When the kubelet last wrote its status; of the day."""
    flipped_s: int = 0
    """When it last became ready, or ceased to be; its conditions tell. A status written anew does not touch it."""
    _template: bytes = field(default=b"", repr=False)

    @classmethod
    def build(cls, index: int, *, model: str, address: str, port: int) -> "BenchPod":
        """The pod with that address. `port` is what its engine listens on."""
        name = f"vllm-{model}-7c9d8b6f5c-{index:05d}"
        manifest = _manifest(name, index, model=model, address=address, port=port)
        text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).replace("%", "%%")
        for mark, key in (
            (_VERSION, "version"),
            (_WRITTEN, "written"),
            (_FLIPPED, "flipped"),
            (_NOTE, "note"),
            (_LABEL, "label"),
            (_READY, "ready"),
        ):
            text = text.replace(mark, f"%({key})s")
        return cls(name, _template=text.encode())

    def encode(self, version: int) -> bytes:
        """The pod's JSON as of that resource version."""
        return self._template % {
            b"version": b"%d" % version,
            b"written": _time_of_day(self.written_s),
            b"flipped": _time_of_day(self.flipped_s),
            b"note": b"%d" % self.note,
            b"label": b"%d" % self.label,
            b"ready": b"True" if self.is_ready else b"False",
        }


def _time_of_day(seconds: int) -> bytes:
    return b"2026-01-02T%02d:%02d:%02dZ" % (seconds // 3600 % 24, seconds // 60 % 60, seconds % 60)


def _manifest(name: str, index: int, *, model: str, address: str, port: int) -> dict[str, Any]:
    uid = f"5f0c1d6e-8d0b-4c1a-9a3e-{index:012d}"
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"vllm-{model}-7c9d8b6f5c",
        "uid": "0b6ef1a2-3d94-4f0e-8f6c-1b2f7a9c0d11",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "generateName": f"vllm-{model}-7c9d8b6f5c-",
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": _VERSION,
            "generation": 1,
            "creationTimestamp": SINCE,
            "labels": {**_LABELS, "model": model, "pod-template-hash": "7c9d8b6f5c", "bench/label": _LABEL},
            "annotations": {
                "bench/note": _NOTE,
                "kubectl.kubernetes.io/restartedAt": SINCE,
                "prometheus.io/path": "/metrics",
                "prometheus.io/port": str(port),
                "prometheus.io/scrape": "true",
            },
            "ownerReferences": [owner],
            "managedFields": _managed_fields(port),
        },
        "spec": _spec(name, index, model, port),
        "status": _status(index, address),
    }


def _spec(name: str, index: int, model: str, port: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": port, "scheme": "HTTP"}, "timeoutSeconds": 1, "successThreshold": 1}
    secret = {"secretKeyRef": {"name": "hf-token", "key": "token"}}
    resources = {"cpu": "8", "memory": "96Gi", "nvidia.com/gpu": "1"}
    token_mount = {
        "name": "kube-api-access-x7kzq",
        "readOnly": True,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }
    container = {
        "name": "vllm",
        "image": "docker.io/vllm/vllm-openai:v0.11.0",
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [
            *("--model", f"org/{model}", "--served-model-name", model, "--port", str(port), "--max-model-len", "32768"),
            *("--gpu-memory-utilization", "0.92", "--enable-prefix-caching", "--tensor-parallel-size", "1"),
        ],
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "env": [
            {"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": secret},
            {"name": "HF_HOME", "value": "/models/hub"},
            {"name": "VLLM_LOGGING_LEVEL", "value": "INFO"},
            {"name": "NCCL_DEBUG", "value": "WARN"},
            {"name": "PYTORCH_CUDA_ALLOC_CONF", "value": "expandable_segments:True"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        ],
        "resources": {"limits": resources, "requests": resources},
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "models", "mountPath": "/models"},
            token_mount,
        ],
        "livenessProbe": {**probe, "initialDelaySeconds": 600, "periodSeconds": 10, "failureThreshold": 3},
        "readinessProbe": {**probe, "initialDelaySeconds": 5, "periodSeconds": 5, "failureThreshold": 3},
        "startupProbe": {**probe, "periodSeconds": 10, "failureThreshold": 120},
        "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
    }
    loader = {
        "name": "fetch-model",
        "image": "docker.io/library/python:3.12-slim",
        "command": ["python3", "/scripts/fetch.py", f"org/{model}"],
        "env": [{"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": secret}],
        "resources": {},
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, token_mount],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    return {
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}},
            {"name": "models", "persistentVolumeClaim": {"claimName": f"models-{model}"}},
            {"name": "kube-api-access-x7kzq", "projected": {"sources": [token, authority], "defaultMode": 420}},
        ],
        "initContainers": [loader],
        "containers": [container],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 130,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "nodeName": f"gpu-node-{index // 8:04d}",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {
                "key": "node.kubernetes.io/not-ready",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            },
            {
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            },
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _status(index: int, address: str) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": told, "lastProbeTime": None, "lastTransitionTime": at}
        for kind, told, at in (
            ("PodReadyToStartContainers", "True", SINCE),
            ("Initialized", "True", SINCE),
            ("Ready", _READY, _FLIPPED),
            ("ContainersReady", _READY, _FLIPPED),
            ("PodScheduled", "True", SINCE),
        )
    ]
    digest = "3f1c6b8d5e0a4c7f9b2d1e8a6c4f0b7d5a3e9c1f8b6d4a2e0c7f5b3d1a9e8c6f"
    identity = f"{index:08x}" * 8
    ended = {
        "terminated": {
            "exitCode": 0,
            "reason": "Completed",
            "startedAt": SINCE,
            "finishedAt": SINCE,
            "containerID": f"containerd://{identity}",
        }
    }
    node = f"10.{index // 2000}.{index // 8 % 250}.7"
    return {
        "observedGeneration": 1,
        "phase": "Running",
        "conditions": conditions,
        "hostIP": node,
        "hostIPs": [{"ip": node}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": SINCE,
        "initContainerStatuses": [
            {
                "name": "fetch-model",
                "state": ended,
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "docker.io/library/python:3.12-slim",
                "imageID": f"docker.io/library/python@sha256:{digest}",
                "containerID": f"containerd://{identity}",
                "started": False,
            }
        ],
        "containerStatuses": [
            {
                "name": "vllm",
                "state": {"running": {"startedAt": SINCE}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "docker.io/vllm/vllm-openai:v0.11.0",
                "imageID": f"docker.io/vllm/vllm-openai@sha256:{digest}",
                "containerID": f"containerd://{identity[::-1]}",
                "started": True,
                "allocatedResources": {"cpu": "8", "memory": "96Gi", "nvidia.com/gpu": "1"},
                "resources": {"limits": {"cpu": "8", "memory": "96Gi", "nvidia.com/gpu": "1"}},
            }
        ],
        "qosClass": "Guaranteed",
    }


def _managed_fields(port: int) -> list[dict[str, Any]]:
    """Who owns which field: the largest part of many a pod."""

    def tree(*names: str, **nested: Any) -> dict[str, Any]:
        return {
            ".": {},
            **{f"f:{name}": {} for name in names},
            **{f"f:{name}": value for name, value in nested.items()},
        }

    probe = tree(
        *("failureThreshold", "initialDelaySeconds", "periodSeconds", "successThreshold", "timeoutSeconds"),
        httpGet=tree("path", "port", "scheme"),
    )
    environment = {
        f'k:{{"name":"{name}"}}': tree("name", "value", "valueFrom")
        for name in ("HUGGING_FACE_HUB_TOKEN", "HF_HOME", "VLLM_LOGGING_LEVEL", "NCCL_DEBUG", "POD_IP", "POD_NAME")
    }
    container = tree(
        *("args", "command", "image", "imagePullPolicy", "name", "terminationMessagePath", "terminationMessagePolicy"),
        env={".": {}, **environment},
        livenessProbe=probe,
        readinessProbe=probe,
        startupProbe=probe,
        ports={".": {}, f'k:{{"containerPort":{port},"protocol":"TCP"}}': tree("containerPort", "name", "protocol")},
        resources=tree(
            limits=tree("cpu", "memory", "nvidia.com/gpu"), requests=tree("cpu", "memory", "nvidia.com/gpu")
        ),
        volumeMounts={f'k:{{"mountPath":"{path}"}}': tree("mountPath", "name") for path in ("/dev/shm", "/models")},
    )
    labels = tree(*_LABELS, "model", "pod-template-hash", "bench/label")
    spec = tree(
        *("dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "securityContext", "tolerations"),
        *("terminationGracePeriodSeconds",),
        containers={'k:{"name":"vllm"}': container},
        volumes={'k:{"name":"shm"}': tree("name", emptyDir=tree("medium", "sizeLimit"))},
    )
    conditions = {
        f'k:{{"type":"{kind}"}}': tree("lastProbeTime", "lastTransitionTime", "status", "type")
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    }
    status = {
        "f:conditions": conditions,
        **{f"f:{name}": {} for name in ("containerStatuses", "hostIP", "hostIPs", "initContainerStatuses", "phase")},
        "f:podIP": {},
        "f:podIPs": {".": {}, 'k:{"ip":"10.0.0.1"}': tree("ip")},
        "f:startTime": {},
    }
    common = {"apiVersion": "v1", "fieldsType": "FieldsV1", "operation": "Update"}
    created = {"f:metadata": {"f:generateName": {}, "f:labels": labels, "f:ownerReferences": {}}, "f:spec": spec}
    return [
        {"manager": "kube-controller-manager", "time": SINCE, "fieldsV1": created, **common},
        {"manager": "kubelet", "time": _WRITTEN, "fieldsV1": {"f:status": status}, "subresource": "status", **common},
    ]
