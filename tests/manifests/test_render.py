"""Every kustomization renders, and an API server would take what it renders."""

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from tests.manifests import crds
from tests.manifests.render import MANIFESTS, find, kustomizations, render

KUBERNETES = "1.37"
FIELDS = {"apiVersion", "kind", "namespace", "resources", "patches", "configMapGenerator", "images"}
NAMESPACED = [folder for folder in kustomizations() if folder.startswith(("kind-", "try", "monitoring"))]


@pytest.mark.parametrize("folder", kustomizations())
def test_it_renders_to_objects_that_are_valid(folder: str) -> None:
    objects = render(folder)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(set(names)) == len(names) > 0
    for found in objects:
        if crds.is_custom(found):
            assert crds.problems(found) == [], found["metadata"]["name"]
        else:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", kustomizations())
def test_it_uses_the_plain_fields_of_kustomize(folder: str) -> None:
    assert yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text()).keys() <= FIELDS


def test_every_file_is_used() -> None:
    used = set()
    for folder in kustomizations():
        kustomization = yaml.safe_load((MANIFESTS / folder / "kustomization.yaml").read_text())
        names = [*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", ()))]
        names += [name for each in kustomization.get("configMapGenerator", ()) for name in each["files"]]
        used |= {(MANIFESTS / folder / name).resolve() for name in names}
    files = {path.resolve() for path in MANIFESTS.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert files - used == {path.resolve() for path in MANIFESTS.rglob("kustomization.yaml")}


@pytest.mark.parametrize("folder", NAMESPACED)
def test_what_is_applied_at_one_go_is_in_one_namespace(folder: str) -> None:
    objects = [each for each in render(folder) if each["kind"] != "Namespace"]
    assert {each["metadata"]["namespace"] for each in objects} == {"extproc"}
    if folder.startswith("kind-"):
        assert find(folder, "Namespace", "extproc")
        [subject] = find(folder, "RoleBinding", "extproc")["subjects"]
        assert subject == {"kind": "ServiceAccount", "name": "extproc", "namespace": "extproc"}


POOL = ("kind-istio", "InferencePool", "vllm-pool")
OLD_POOL = ("kind-istio-1.27", "InferencePool", "vllm-pool")
ROUTE = ("kind-istio", "HTTPRoute", "llm")
RULE = ("istio/1.28", "DestinationRule", "extproc")
MONITOR = ("monitoring", "ServiceMonitor", "extproc")
ALERTS = ("monitoring", "PrometheusRule", "extproc")
MTLS = ("istio/strict-mtls", "PeerAuthentication", "vllm-pool")
FILTER = ("istio/no-response-phase", "EnvoyFilter", "extproc-no-response-phase")


@pytest.mark.parametrize(
    ("origin", "path", "value", "problem"),
    [
        pytest.param(POOL, "spec.targetPortNumber", 8000, "unexpected", id="v1alpha2's field in v1"),
        pytest.param(OLD_POOL, "spec.targetPorts", [{"number": 8000}], "unexpected", id="v1's field in v1alpha2"),
        pytest.param(POOL, "spec.endpointPickerRef.failureMode", "FailClosed", "is not one of", id="an enum's value"),
        pytest.param(POOL, "spec.selector.matchLabels", None, "is not of type", id="an empty field"),
        pytest.param(ROUTE, "spec.rules.0.backendRef", [], "unexpected", id="a misspelt field in a list"),
        pytest.param(ROUTE, "spec.rules.0.timeouts.request", "0", "does not match", id="a duration without a unit"),
        pytest.param(FILTER, "spec.configPatches.0.applyTo", "ROUTE", "is not one of", id="an EnvoyFilter's place"),
        pytest.param(RULE, "spec.trafficPolicy.tls.mode", "OFF", "is not one of", id="TLS"),
        pytest.param(MONITOR, "spec.endpoint", [], "unexpected", id="a monitor's field"),
        pytest.param(ALERTS, "spec.groups.0.rules.0.for", "soon", "does not match", id="a rule's time"),
        pytest.param(MTLS, "spec.portLevelMTLS", {}, "unexpected", id="mTLS"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_custom_resource_is_found(
    origin: tuple[str, str, str], path: str, value: Any, problem: str
) -> None:
    found = yaml.safe_load(yaml.safe_dump(find(*origin)))
    *way, last = path.split(".")
    place = found
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    assert problem in " ".join(crds.problems(found))


def test_what_is_wrong_in_a_deployment_is_found() -> None:
    found = yaml.safe_load(yaml.safe_dump(find("base", "Deployment", "extproc")))
    found["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
