"""cli/check: the effective settings, or every problem."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.secret import mount, self_signed

from extproc.cli import main
from extproc.settings.json_schema import render_json_schema
from extproc.settings.load import load_settings
from extproc.settings.schema import Settings


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)], catch_exceptions=False)


def test_prints_the_defaults_and_they_can_be_loaded_again() -> None:
    result = check()
    assert (result.exit_code, result.stderr) == (0, "")
    assert yaml.safe_load(result.stdout) == Settings().model_dump(mode="json", by_alias=True)
    assert load_settings(text=result.stdout, flag_values={}) == Settings()


@pytest.mark.parametrize("text", ["", "---", "# nothing", "server:", "server: {grpcPort: 9002}"])
def test_empty_and_partial_configs_are_good(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    result = check(path)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == yaml.safe_load(check().stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["FILE"], id="as argument"),
        pytest.param(["--config-file", "FILE"], id="as flag"),
        pytest.param(["--config-text", "requests: {maxBodyBytes: 1MiB, hold: 1500ns}"], id="as text"),
        pytest.param(["FILE", "-v=2"], id="with a flag"),
    ],
)
def test_prints_what_is_in_effect(tmp_path: Path, arguments: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("requests: {maxBodyBytes: 1MiB, hold: 1500ns}")
    result = check(*[str(path) if argument == "FILE" else argument for argument in arguments])
    assert result.exit_code == 0
    settings = load_settings(text=result.stdout, flag_values={})
    assert (settings.requests.max_body_bytes, settings.requests.hold_s) == (1 << 20, 1.5e-6)


def test_tells_every_problem_at_once(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{server: {grpcPort: x, metricPort: 1}, nonsense: 1}")
    result = check(path, "--v=x", "--pool-group=p")
    assert (result.exit_code, result.stdout) == (2, "")
    heading, *problems = result.stderr.splitlines()
    assert heading == f"{path}: 5 problems"
    assert [problem.split(":")[0] for problem in problems] == [
        "  --v",
        "  --pool-group",
        "  server.grpcPort",
        "  server.metricPort",
        "  nonsense",
    ]


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("absent", "cannot be read: No such file or directory"),
        ("directory", "cannot be read: Is a directory"),
        ("unreadable", "is not YAML"),
        ("binary", "is not UTF-8 text"),
        ("list", "must be a mapping, not a list"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, kind: str, complaint: str) -> None:
    path = tmp_path / kind
    content = {"unreadable": b"a: b: c", "binary": b"\xff\xfe\xfd", "list": b"- a"}
    if kind == "directory":
        path.mkdir()
    elif kind in content:
        path.write_bytes(content[kind])
    result = check(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{path}: 1 problem\n  {complaint}")


def test_two_files_are_one_too_many(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("")
    bad.write_text("nonsense: 1")
    assert check(bad, "--config-file", good).exit_code == 2


def test_an_unknown_flag_is_a_usage_error() -> None:
    result = check("--grpc-prot=1")
    assert result.exit_code == 2
    assert "did you mean --grpc-port?" in result.stderr


def test_what_has_no_effect_is_told_in_comments(tmp_path: Path) -> None:
    path = tmp_path / "pd-config.yaml"
    path.write_text("{apiVersion: llm-d.ai/v1alpha1, kind: EndpointPickerConfig, plugins: [{type: my-own-scorer}]}")
    result = check(path, "--zap-encoder=json", "--tracing", "false")
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == Settings().model_dump(mode="json", by_alias=True)
    comments = [line for line in result.stdout.splitlines() if line.startswith("#")]
    assert comments[-3:] == [
        "# flags without effect here: --zap-encoder, --tracing",
        "# parts of the EndpointPickerConfig without effect here:",
        "#   plugins[0]: my-own-scorer has no effect here",
    ]


def test_the_certificate_is_checked_too(tmp_path: Path) -> None:
    mount(tmp_path, self_signed())
    assert check("--cert-path", tmp_path).exit_code == 0
    (tmp_path / "tls.key").unlink()
    result = check("--cert-path", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{tmp_path}/tls.key: cannot be read: No such file or directory" in result.stderr
    assert check("--cert-path", tmp_path, "--secure-serving=false").exit_code == 0


def test_a_certificate_folder_that_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 300)
    result = check("--cert-path", folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{folder}/tls.crt: cannot be read: File name too long" in result.stderr


def test_the_endpoints_file_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("pools: [{name: demo, endpoints: [{name: a, address: '10.0.0.1:80'}]}]")
    result = check("--endpoints-file", path)
    assert result.exit_code == 0
    assert f"# pool default/demo: 1 endpoints in {path}\n" in result.stdout
    path.write_text("pools: [{name: demo, endpoints: [{name: a, address: 'vllm:80'}]}]")
    result = check("--endpoints-file", path)
    assert result.exit_code == 2
    assert "pools[0].endpoints[0].address: 'vllm' is not an IP address" in result.stderr


def test_a_pool_of_kubernetes_can_be_checked_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the machine of whoever is about to install it."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    result = check("--pool-name=llm", "--zap-encoder=json")
    assert (result.exit_code, result.stderr) == (0, "")
    *_, missing, without_effect = result.stdout.splitlines()
    assert missing.startswith("# to start, serve still needs source.kubeconfig: Kubernetes cannot be reached")
    assert without_effect == "# flags without effect here: --zap-encoder"
    assert load_settings(text=result.stdout, flag_values={}).source.pool_name == "llm"


def test_a_kubeconfig_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    result = check("--pool-name=llm", f"--kubeconfig={tmp_path / 'none'}")
    assert result.exit_code == 2
    assert "there is no such file" in result.stderr


def test_a_comment_says_where_a_value_comes_from_that_is_no_default(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {drainDelay: 1s, drainTimeout: 1s}")
    shown = check(path, "--drain-timeout=2s").stdout.splitlines()
    assert [line for line in shown if "#" in line] == [
        "  drainDelay: 1s  # file",
        "  drainTimeout: 2s  # flag",
        *[line for line in shown if line.startswith("# to start")],
    ]


def test_as_json(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("requests: {hold: 2s}")
    pool = tmp_path / "pool.yaml"
    pool.write_text("pools: [{name: demo}]")
    result = check(path, "--json", "--endpoints-file", pool, "--zap-encoder=json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["settings"]["requests"]["hold"] == "2s"
    assert told["origins"] == {"requests.hold": "file", "source.endpointsFile": "flag"}
    assert told["pool"] == {"name": "default/demo", "origin": f"0 endpoints in {pool}"}
    assert (told["problems"], told["missing"]) == ([], [])
    assert told["without_effect"] == ["flags without effect here: --zap-encoder"]


def test_problems_as_json() -> None:
    result = check("--json", "--config-text=nonsense: 1", "--v=x")
    assert (result.exit_code, result.stderr) == (2, "")
    assert [problem["where"] for problem in json.loads(result.stdout)["problems"]] == ["--v", "nonsense"]


def test_the_schema_for_editors() -> None:
    result = check("--schema")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == render_json_schema()
