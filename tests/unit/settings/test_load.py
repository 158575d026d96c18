"""settings/load: a document and flags become settings, or every problem at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import ConfigError
from extproc.settings.load import flags, load, load_settings
from extproc.settings.schema import Settings


def problems(text: str | None = None, *, file: str | None = None, **flag_values: str) -> list[str]:
    """What is wrong, one line each, empty when nothing is."""
    given_flags = {name.replace("_", "-"): value for name, value in flag_values.items()}
    try:
        load_settings(file=file, text=text, flag_values=given_flags)
    except ConfigError as exc:
        return [str(problem) for problem in exc.problems]
    return []


@pytest.mark.parametrize(
    "text",
    [None, "", "\n", "---\n", "{}", "# a comment", "null", "~", "server:", "server: {}", "server:\nprobes:\n  models:"],
)
def test_what_says_nothing_means_defaults(text: str | None) -> None:
    assert load_settings(text=text, flag_values={}) == Settings()


def test_a_part_leaves_the_rest_as_it_is() -> None:
    settings = load_settings(text="probes:\n  models:\n    interval: 2s\n", flag_values={})
    assert settings.probes.models.interval_s == 2.0
    assert settings.probes.models.timeout_s == Settings().probes.models.timeout_s
    assert settings.server == Settings().server


def test_defaults_written_out_are_read_back() -> None:
    text = yaml.safe_dump(Settings().model_dump(mode="json", by_alias=True))
    assert load_settings(text=text, flag_values={}) == Settings()


@pytest.mark.parametrize(
    ("text", "flag", "value", "port"),
    [
        pytest.param(None, "grpc-port", "1", 1, id="alone"),
        pytest.param("server: {grpcPort: 2}", "grpc-port", "1", 1, id="over the document"),
        pytest.param("server:", "grpc-port", "1", 1, id="into an empty group"),
        pytest.param("server: {grpcPort: 2}", "metrics-port", "1", 2, id="beside it"),
    ],
)
def test_flags_lie_over_the_document(text: str | None, flag: str, value: str, port: int) -> None:
    assert load_settings(text=text, flag_values={flag: value}).server.grpc_port == port


@pytest.mark.parametrize(
    ("text", "flag_values", "port"),
    [
        pytest.param(None, {}, 1, id="nothing else is said"),
        pytest.param("server:", {}, 1, id="an empty group says nothing"),
        pytest.param("server: {metricsPort: 5}", {}, 1, id="beside another"),
        pytest.param("server: {grpcPort: 2}", {}, 2, id="the document says it"),
        pytest.param(None, {"grpc-port": "3"}, 3, id="a flag says it"),
    ],
)
def test_what_is_implied_holds_where_nothing_is_said(text: str | None, flag_values: dict[str, str], port: int) -> None:
    loaded = load(text=text, flag_values=flag_values, implied={("server", "grpcPort"): 1})
    assert loaded.settings.server.grpc_port == port


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("2s", 2.0, id="Go's"),
        pytest.param("50ms", 0.05, id="Go's, small"),
        pytest.param("50000000", 0.05, id="integer nanoseconds"),
        pytest.param("0", 0.0, id="zero"),
        pytest.param("1m30s", 90.0, id="two units"),
    ],
)
def test_durations_of_flags(value: str, seconds: float) -> None:
    assert load_settings(flag_values={"drain-timeout": value}).server.drain_timeout_s == seconds


@pytest.mark.parametrize("value", ["true", "TRUE", "True", "t", "T", "1", "false", "FALSE", "False", "f", "F", "0"])
def test_truth_as_go_spells_it(value: str) -> None:
    assert load_settings(flag_values={"secure-serving": value}).server.secure_serving is (value[0] in "tT1")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("grpc-port", "http", "valid integer"),
        ("grpc-port", "65536", "less than or equal to 65535"),
        ("grpc-port", "", "valid integer"),
        ("secure-serving", "maybe", "valid boolean"),
        ("drain-timeout", "1.5", "has no unit"),
        ("drain-timeout", "-1s", "is negative"),
        ("drain-timeout", "", "is no duration"),
        ("drain-timeout", "9" * 30, "longer than 292 years"),
        ("v", "11", "less than or equal to 10"),
    ],
)
def test_a_bad_flag_is_named_as_it_was_given(name: str, value: str, complaint: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"--{name}: ")
    assert complaint in problem


def test_every_problem_is_told_at_once() -> None:
    text = """
        server: {grpcPort: 70000, grcpHealthPort: 1}
        probes: {models: {interval: 5, timeout: 0s}, scheme: htps}
        scheduling: {scorers: [{name: queue}, {name: recent, wieght: 1}]}
        nonsense: 1
    """
    found = problems(text, v="eleven", drain_delay="5")
    assert [each.partition(": ")[0] for each in found] == [
        "--v",
        "server.grpcPort",
        "server.grcpHealthPort",
        "probes.models.interval",
        "probes.models.timeout",
        "probes.scheme",
        "scheduling.scorers[1].name",
        "scheduling.scorers[1].wieght",
        "nonsense",
    ]


def test_a_flag_over_a_group_that_is_none() -> None:
    assert [each.partition(": ")[0] for each in problems("server: 5", grpc_port="1")] == ["server"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("- a", "must be a mapping, not a list", id="a list"),
        pytest.param("hello", "must be a mapping, not a str", id="a word"),
        pytest.param("false", "must be a mapping, not a bool", id="false is not empty"),
        pytest.param("a: b: c", "is not YAML", id="no YAML"),
        pytest.param("a: [", "is not YAML", id="unfinished"),
        pytest.param("\ta: 1", "is not YAML", id="a tab"),
        pytest.param("a: 1\n---\nb: 1", "is not YAML", id="two documents"),
        pytest.param("{{ .Values.config }}", "is not YAML", id="a template not filled in"),
        pytest.param("a: *b", "is not YAML", id="an alias of nothing"),
        pytest.param("a: !!python/name:os.system", "is not YAML", id="a foreign tag"),
        pytest.param("a: \x00", "is not YAML", id="a control character"),
        pytest.param("a: 2024-99-99", "is not YAML", id="a date that is none"),
        pytest.param("a: !!int x", "is not YAML", id="an integer that is none"),
        pytest.param("a: !!bool x", "is not YAML", id="a boolean that is none"),
        pytest.param("a: !!timestamp x", "is not YAML", id="a time that is none"),
        pytest.param("a: " + "1" * 5000, "is not YAML", id="an integer without end"),
        pytest.param("1: 2", "keys should be strings", id="a number as key"),
        pytest.param("on: 2", "keys should be strings", id="YAML's other true"),
    ],
)
def test_documents_that_are_none(text: str, complaint: str) -> None:
    (problem,) = problems(text)
    assert complaint in problem


def test_no_depth_of_nesting_ends_the_process() -> None:
    """In a process of its own: PyYAML's C parser overflows the stack (segmentation fault at some 50,000 levels)."""
    script = """if True:
        from extproc.errors import ConfigError
        from extproc.settings.load import load_settings
        try:
            load_settings(text='[' * 200_000, flag_values={})
        except ConfigError as exc:
            print(len(exc.problems))
    """
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "1\n")


def test_a_key_that_stands_twice_is_not_silently_lost() -> None:
    assert problems("server: {grpcPort: 1}\nserver: {metricsPort: 2}") != []


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server: {grpcPort: 1}")
    assert load_settings(file=str(path), flag_values={}).server.grpc_port == 1


@pytest.mark.parametrize("kind", ["absent", "directory", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\xfd")
    expected = {"absent": "No such file", "directory": "Is a directory", "binary": "is not UTF-8 text"}
    (problem,) = problems(file=str(path))
    assert problem.startswith(f"{path}: ")
    assert expected[kind] in problem


def test_a_file_or_a_text() -> None:
    assert problems("", file="x") == ["--config-text: give a file or a text, not both"]


@pytest.mark.parametrize("name", [*flags()])
def test_every_flag_leads_to_a_setting(name: str) -> None:
    flag = flags()[name]
    values = {
        "listen-address": "127.0.0.1",
        "admin-address": "127.0.0.1",
        "pool-group": "inference.networking.k8s.io",
        "dns-name": "engines.llm.svc:8000",
        "model-server-metrics-path": "/metrics",
        "log-format": "json",
        "tracing-endpoint": "http://collector:4317",
    }
    both = {"endpoint-selector": "app=llm", "endpoint-target-ports": "8000,8001"}
    value = values.get(name, "true" if flag.is_bool else "1s" if flag.is_duration else "1")
    assert name == flag.name == name.lower()
    assert load_settings(flag_values=both if name in both else {name: value}) is not None


def test_the_flags_that_today_s_pickers_have() -> None:
    assert {"grpc-port", "grpc-health-port", "metrics-port", "secure-serving", "drain-timeout", "v"} <= set(flags())


@given(st.text() | st.text(alphabet="abserv:{}[]-&*!|>'\"#\n 0123", max_size=40))
def test_no_text_raises_anything_but_config_error(text: str) -> None:
    problems(text)
