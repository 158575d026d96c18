"""The manifests applied to a real API server, and the picker there with the rights that they give it, and no others."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from tests.api_objects import pod_status
from tests.cluster import CRDS
from tests.manifests.kubectl import find_kubectl
from tests.manifests.render import MANIFESTS, of_kind
from tests.real_apiserver import ADMIN_TOKEN, RealApiServer
from tests.sources.kubernetes.following import Following

from extproc.sources.kubernetes.access import find_access
from extproc.sources.kubernetes.pools import Selection
from extproc.sources.kubernetes.source import KubernetesPool, Wanted
from extproc.values.pool import Pool

NAMESPACE = "extproc"
Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubectl(real_apiserver: RealApiServer, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl as an administrator; what it prints, where it warns of nothing."""
    home = tmp_path_factory.mktemp("kubectl")

    def run(*arguments: str, stdin: str | None = None) -> str:
        result = subprocess.run(
            [
                find_kubectl(), f"--server={real_apiserver.url}", f"--token={ADMIN_TOKEN}",
                f"--certificate-authority={real_apiserver.certificate}", *arguments,
            ],
            capture_output=True, text=True, check=False, input=stdin, env={"HOME": str(home)},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert not result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def crds(kubectl: Kubectl) -> Iterator[None]:
    """The CRDs of all that the picker reads."""
    for path in CRDS.values():
        kubectl("apply", "-f", str(path))
    for resource in CRDS:
        kubectl("wait", f"crd/{resource.qualified}", "--for=condition=Established")
    yield
    for path in CRDS.values():
        kubectl("delete", "-f", str(path))


@pytest.fixture(params=["kind-envoy", "kind-envoy-pool"])
def applied(request: pytest.FixtureRequest, kubectl: Kubectl, crds: None) -> Iterator[str]:
    """A folder that was applied by the one command of the docs."""
    folder: str = request.param
    kubectl("apply", "-k", str(MANIFESTS / folder))
    yield folder
    for kind in ("deployments", "inferencepools", "services", "configmaps"):
        kubectl("delete", kind, "--all", "--namespace", NAMESPACE)


async def test_the_rights_of_the_role_are_enough(
    applied: str, kubectl: Kubectl, real_apiserver: RealApiServer, tmp_path: Path
) -> None:
    """The picker's own service account, by a token as its pod gets one."""
    [account] = of_kind(applied, "ServiceAccount")
    holder = account["metadata"]["name"]
    (tmp_path / "token").write_text(kubectl("create", "token", holder, "--namespace", NAMESPACE).strip())
    (tmp_path / "ca.crt").write_bytes(real_apiserver.certificate.read_bytes())
    (tmp_path / "namespace").write_text(NAMESPACE)
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(real_apiserver.port)}
    access = find_access(None, environ=environ, home=tmp_path, service_account=tmp_path)
    assert access.namespace == NAMESPACE
    name = f"phi-{applied}"
    target = ("pod", name, "--namespace", NAMESPACE)
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(_phi_pod(applied, name)))
    status = json.dumps({"status": pod_status(["10.0.0.1"], ready=True)})
    kubectl("patch", *target, "--subresource=status", "--type=merge", "--patch", status)

    has_pool = any(of_kind(applied, "InferencePool"))
    selection = None if has_pool else Selection("app=vllm-pool", None, (8000,))
    wanted = Wanted(Pool("vllm-pool", NAMESPACE), selection)
    told = Following(KubernetesPool(wanted, access, clock=time.monotonic, rng=Random(1)))
    task = asyncio.create_task(told.source.run(told.report, told))
    try:
        await told.until(lambda: told.outline().get(name) is True)
        kubectl("delete", *target, "--wait=false")
        await told.until(lambda: told.outline().get(name) is False)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _phi_pod(folder: str, name: str) -> dict[str, Any]:
    """A pod as the Deployment of the simulated servers makes them, on a node."""
    [phi] = [each for each in of_kind(folder, "Deployment") if each["metadata"]["name"] == "phi"]
    template = phi["spec"]["template"]
    metadata = template["metadata"] | {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] | {"nodeName": "node-a"}}
