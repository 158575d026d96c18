"""What an InferencePool selects, whichever version states it, or what the settings state without one."""

from collections.abc import Mapping
from typing import NamedTuple

from extproc.sources.kubernetes.objects import InferencePool


class Group(NamedTuple):
    """An API group and version that InferencePools are served in."""

    name: str
    version: str


GROUPS = (Group("inference.networking.k8s.io", "v1"), Group("inference.networking.x-k8s.io", "v1alpha2"))
"""The one that counts first stands first."""


class Selection(NamedTuple):
    """Which pods belong to the pool, and on which ports they serve."""

    selector: str
    """A label selector in Kubernetes' syntax."""
    labels: Mapping[str, str] | None
    """The same as labels that must all be there; None where it is more than that."""
    ports: tuple[int, ...]
    """Each once."""


def selection_of(pool: InferencePool) -> tuple[Selection | None, str]:
    """What the pool selects, and an empty text; or None, and what keeps the pool from selecting anything.

    A pool without labels selects nothing. By Kubernetes' rule it would be every pod of the namespace, which is nobody's
    wish here.
    """
    spec = pool.spec
    stated = spec.selector.get("matchLabels", {}) if _is_v1(pool) else spec.selector
    if not isinstance(stated, dict) or not all(isinstance(value, str) for value in stated.values()):
        return None, "its selector is no mapping of labels"
    labels = {key: value for key, value in stated.items() if isinstance(value, str)}
    if not labels:
        return None, "its selector has no labels"
    ports = tuple(dict.fromkeys(port.number for port in spec.target_ports or ()))
    if spec.target_port_number is not None and not ports:
        ports = (spec.target_port_number,)
    if not ports or not all(1 <= port <= 65535 for port in ports):
        return None, "it has no target port of 1 to 65535"
    return Selection(",".join(f"{key}={value}" for key, value in labels.items()), labels, ports), ""


def _is_v1(pool: InferencePool) -> bool:
    """True when the selector has the form of v1. In that of v1alpha2 each value is a label's, a text."""
    return not pool.spec.selector or any(not isinstance(value, str) for value in pool.spec.selector.values())
