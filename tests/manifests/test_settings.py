"""The picker's arguments and settings out of the rendered Deployments, read by the real command line."""

import ast
from pathlib import Path
from typing import Any

import click
import pytest
from tests.manifests.render import find, picker
from tests.manifests.test_wiring import PICKERS, WITH_SIM

from extproc.cli.flags import read_settings
from extproc.cli.serve import serve
from extproc.cli.sim import sim
from extproc.settings.schema import Settings


def parse(arguments: list[str], folder: str, tmp_path: Path) -> Settings:
    """As in the pod: $(POD_NAMESPACE) is put in, and the ConfigMap is a file."""
    (tmp_path / "config.yaml").write_text(find(folder, "ConfigMap", "extproc-config")["data"]["config.yaml"])
    in_pod = [
        word.replace("$(POD_NAMESPACE)", "extproc").replace("/etc/extproc/", f"{tmp_path}/") for word in arguments
    ]
    assert in_pod.pop(0) == "serve"
    context = serve.make_context("serve", in_pod)
    given = read_settings(context.params)
    assert not given.without_effect
    assert not given.notes
    return given.settings


@pytest.mark.parametrize("folder", PICKERS)
def test_the_command_line_takes_them(folder: str, tmp_path: Path) -> None:
    settings = parse(picker(folder)["args"], folder, tmp_path)
    source = settings.source
    if folder == "kind-envoy":
        assert (source.pool_name, source.endpoint_selector) == (None, "app=vllm-pool")
        assert list(source.endpoint_target_ports) == [8000]
    else:
        assert (source.pool_name, source.endpoint_selector) == ("vllm-pool", None)
    assert source.pool_namespace == "extproc"
    assert source.pool_group is None
    assert settings.server.secure_serving is False
    assert settings.envoy.fallback_endpoints == (2 if "envoy" in folder else 0)
    assert settings.envoy.response_phase == ("track" if folder == "envoy-tracking" else "auto")


def test_a_mistake_in_them_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--pool-nmae"):
        parse([*picker("base")["args"], "--pool-nmae=x"], "base", tmp_path)


@pytest.mark.parametrize("folder", WITH_SIM)
def test_the_simulated_servers_start_with_theirs(folder: str) -> None:
    for name in ("phi", "gemma"):
        [container] = find(folder, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        command, *arguments = container["args"]
        assert command == "sim"
        parameters: dict[str, Any] = sim.make_context("sim", arguments).params
        assert (parameters["host"], parameters["port"]) == ("0.0.0.0", 8000)


def test_the_jobs_program_is_python_that_needs_nothing_else() -> None:
    tree = ast.parse(find("try", "ConfigMap", "try-requests")["data"]["requests.py"])
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"json", "os", "sys", "time", "urllib"}
