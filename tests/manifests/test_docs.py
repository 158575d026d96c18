"""What docs/kubernetes.md and the README tell people to type names things that exist."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.manifests.kubectl import find_kubectl
from tests.manifests.render import MANIFESTS, find, kustomizations, pod_templates, render
from tests.manifests.test_settings import parse

DOCUMENTS = ["docs/kubernetes.md", "README.md"]
IMAGE = "extproc:0.1.0"


def commands() -> Iterator[str]:
    for document in DOCUMENTS:
        for block in re.findall(r"```console\n(.*?)```", Path(document).read_text(), re.DOTALL):
            for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE):
                yield re.sub(r"\\\n\s*", "", command)


def recipes() -> Iterator[str]:
    yield from re.findall(r"^\t@?(.*)$", Path("Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("where", [commands, recipes], ids=["documents", "Makefile"])
def test_every_folder_that_is_applied_exists(where: Any) -> None:
    applied = {folder for command in where() for folder in re.findall(r"apply -k (\S+)", command)}
    assert "manifests/kind-envoy" in applied
    assert {folder.removeprefix("manifests/") for folder in applied} <= set(kustomizations())


def test_every_path_and_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = Path(document).read_text()
        assert {path for path in re.findall(r"`(manifests/[\w./-]+)`", text) if not Path(path).exists()} == set()
        assert set(re.findall(r"(?:`|\$ |or )make ([a-z-]+)", text)) <= targets
        folder = Path(document).parent
        linked = {link for link in re.findall(r"\]\(([\w./-]+\.md)", text) if not (folder / link).exists()}
        assert linked == set()


def test_every_image_that_is_built_and_loaded_is_the_manifests() -> None:
    named = {name for command in commands() for name in re.findall(r"(?:--tag|docker-image) (\S+)", command)}
    assert named == {IMAGE}
    images = {each["image"] for _, template in pod_templates("kind-envoy") for each in template["spec"]["containers"]}
    assert IMAGE in images
    assert f"IMAGE := {IMAGE}" in Path("Makefile").read_text()


def test_every_object_that_is_asked_for_exists() -> None:
    kinds = {"service": "Service", "deployment": "Deployment", "job": "Job"}
    made = {(each["kind"], each["metadata"]["name"]) for folder in kustomizations() for each in render(folder)}
    made.add(("Service", "llm-istio"))  # istiod's, of the Gateway `llm`
    texts = [Path(document).read_text() for document in DOCUMENTS]
    named = {each for text in texts for each in re.findall(r"\b(service|deployment|job)/([a-z-]+)", text)}
    assert ("service", "gateway") in named
    assert {(kinds[kind], name) for kind, name in named} <= made
    for command in commands():
        for name, port in re.findall(r"port-forward service/([a-z-]+) \d+:(\d+)", command):
            if name != "llm-istio":
                ports = find("kind-envoy", "Service", name)["spec"]["ports"]
                assert int(port) in [each["port"] for each in ports]
        if "--namespace" in command:
            assert "--namespace extproc" in command


def test_models_that_are_asked_for_are_served() -> None:
    text = Path("docs/kubernetes.md").read_text()
    args = [arg for name in ("phi", "gemma") for arg in _args(name)]
    assert all(f"--model={model}" in args for model in re.findall(r'"model": "([^"]*)"', text))


def _args(name: str) -> list[str]:
    [container] = find("kind-envoy", "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


@pytest.mark.parametrize(("is_whole", "pool_name", "is_secure"), [(False, "vllm-pool", False), (True, "my-pool", True)])
def test_the_kustomization_to_copy_renders(tmp_path: Path, is_whole: bool, pool_name: str, is_secure: bool) -> None:
    """As it stands in the document, in a folder beside a copy of the manifests, without further patches and with."""
    text, further = re.findall(r"```yaml\n(.*?)```", Path("docs/kubernetes.md").read_text(), re.DOTALL)
    text += further if is_whole else ""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "kustomization.yaml").write_text(text)
    result = subprocess.run(
        [find_kubectl(), "kustomize", str(tmp_path / "llm")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    objects = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(result.stdout)}
    pool = objects["InferencePool", "vllm-pool"]
    assert pool["metadata"]["namespace"] == "llm"
    assert pool["spec"]["selector"] == {"matchLabels": {"app": "my-model-servers"}}
    [container] = objects["Deployment", "extproc"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/extproc:0.1.0"
    settings = parse(container["args"], "base", tmp_path)
    assert settings.server.secure_serving is is_secure
    assert settings.source.pool_name == pool_name


def test_kind_up_runs_its_commands_and_ends_as_the_job_did(tmp_path: Path) -> None:
    """With stand-ins for what needs a container engine or a cluster."""
    for name in ("docker", "kind", "kubectl"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n'
            'case "$*" in *"get job"*) cat "$(dirname "$0")/job";; *"rollout restart"*) exit 1;; esac\n'
        )
        program.chmod(0o755)
    for conditions, code in (("SuccessCriteriaMet Complete", 0), ("FailureTarget Failed", 2)):
        (tmp_path / "job").write_text(conditions)
        result = subprocess.run(
            ["make", "--no-print-directory", "kind-up"],
            env={"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert result.returncode == code, result.stderr
    log = (tmp_path / "log").read_text()
    steps = [
        "docker build",
        "kind create cluster",
        "kind load docker-image",
        "apply -k manifests/kind-envoy",
        "rollout status",
    ]
    places = [log.index(step) for step in [*steps, "delete job", "apply -k manifests/try", "logs job/try"]]
    assert places == sorted(places)
