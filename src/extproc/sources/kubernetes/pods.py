"""From pods to endpoints: every target port of a pod is one."""

import ipaddress
from collections.abc import Mapping, Sequence

from extproc.registry.changes import Listing
from extproc.sources.kubernetes.objects import Condition, Pod
from extproc.sources.labels import engine_of, role_of
from extproc.values.endpoint import Endpoint

ACTIVE_PORTS = "llm-d.ai/active-ports"
"""Annotation with the target ports on which the pod serves, separated by commas; without it all of them."""
ENDED_PHASES = ("Succeeded", "Failed")
UNKNOWN = Condition("Ready", "Unknown")


def is_selected(pod: Pod, labels: Mapping[str, str]) -> bool:
    """True when the pod has all of these labels."""
    own = pod.metadata.labels or {}
    return all(own.get(key) == value for key, value in labels.items())


def endpoints_of(pod: Pod, ports: Sequence[int], *, engine_label: str | None = None) -> tuple[Listing, ...]:
    """The endpoints of a pod, in the order of `ports`; none of one without an address, or that has ended.

    They are ready when Kubernetes says Ready and the pod is not being deleted. Their engine is what the label
    `engine_label` says; without one, the usual labels.

    An endpoint is told by the pod's UID and its port: another pod of the same name or address is another endpoint.
    """
    address = _address(pod)
    if address is None or pod.status.phase in ENDED_PHASES:
        return ()
    name, uid = pod.metadata.name, pod.metadata.uid
    readiness = next((condition for condition in pod.status.conditions or () if condition.type == "Ready"), UNKNOWN)
    is_ready = readiness.status == "True" and pod.metadata.deletion_timestamp is None
    restarts = sum(container.restart_count for container in pod.status.container_statuses or ())
    active = _active_ports(pod)
    labels = pod.metadata.labels or {}
    role, engine = role_of(labels), engine_of(labels, key=engine_label)
    return tuple(
        Listing(
            Endpoint(
                id=f"{uid}/{port}",
                name=name if len(ports) == 1 else f"{name}:{port}",
                address=f"{address}:{port}",
                role=role,
                engine=engine,
                node=pod.spec.node_name or "",
            ),
            is_ready,
            incarnation=f"{restarts} restarts, readiness of {readiness.last_transition_time}",
        )
        for port in ports
        if active is None or port in active
    )


def _address(pod: Pod) -> str | None:
    """The pod's address as Envoy takes it; None where it has none."""
    try:
        ip = ipaddress.ip_address(pod.status.pod_ip or "")
    except ValueError:
        return None
    return f"[{ip}]" if ip.version == 6 else str(ip)


def _active_ports(pod: Pod) -> frozenset[int] | None:
    text = (pod.metadata.annotations or {}).get(ACTIVE_PORTS)
    if text is None:
        return None
    words = (word.strip() for word in text.split(","))
    return frozenset(int(word) for word in words if word.isascii() and word.isdigit())
