"""The manifests as kubectl renders them."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.manifests.kubectl import find_kubectl

MANIFESTS = Path("manifests")
Object = Mapping[str, Any]


def kustomizations() -> list[str]:
    """The folders that can be applied, relative to `manifests`."""
    return sorted(str(path.parent.relative_to(MANIFESTS)) for path in MANIFESTS.rglob("kustomization.yaml"))


@cache
def render(folder: str) -> tuple[Object, ...]:
    """What `kubectl apply -k` would apply. Nothing is asked of a cluster."""
    result = subprocess.run(
        [find_kubectl(), "kustomize", str(MANIFESTS / folder)],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": "/nonexistent"},
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr  # deprecated fields
    return tuple(yaml.safe_load_all(result.stdout))


def find(folder: str, kind: str, name: str) -> Any:
    """The one object of that kind and name. ConfigMaps are found without the hash at the end of their name."""
    [found] = [each for each in of_kind(folder, kind) if _plain_name(each) == name]
    return found


def of_kind(folder: str, kind: str) -> Iterator[Any]:
    """Its objects of a kind."""
    return (each for each in render(folder) if each["kind"] == kind)


def _plain_name(found: Object) -> str:
    name = str(found["metadata"]["name"])
    return re.sub("-[0-9a-z]{10}$", "", name) if found["kind"] == "ConfigMap" else name


def pod_templates(folder: str) -> Iterator[tuple[str, Any]]:
    """Name and pod template of each Deployment and Job."""
    for found in render(folder):
        if found["kind"] in ("Deployment", "Job"):
            yield found["metadata"]["name"], found["spec"]["template"]


def picker(folder: str) -> Any:
    """The picker's only container."""
    [container] = find(folder, "Deployment", "extproc")["spec"]["template"]["spec"]["containers"]
    return container


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a plain selector selects something of these labels."""
    return bool(selector) and selector.items() <= labels.items()
