"""What the labels of a pod, or of an endpoint in a file, say of the engine behind it.

Source: llm-d-router's well-known labels, and for the older key the Gateway API Inference Extension.
"""

from collections.abc import Mapping

ROLE = "llm-d.ai/role"
ENGINE = "llm-d.ai/engine-type"
OLDER_ENGINE = "inference.networking.k8s.io/engine-type"


def role_of(labels: Mapping[str, str]) -> str:
    """What the engine does of a request, such as `prefill`; empty where nothing says it."""
    return labels.get(ROLE, "")


def engine_of(labels: Mapping[str, str], *, key: str | None) -> str:
    """The kind of engine by the label `key`; without one by the label of today, else the older one. Empty for none."""
    if key is not None:
        return labels.get(key, "")
    return labels.get(ENGINE) or labels.get(OLDER_ENGINE, "")
