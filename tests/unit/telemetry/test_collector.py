"""telemetry/collector: where spans go, by the settings and by OpenTelemetry's own variables."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest
from click.testing import CliRunner
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from extproc.cli.check import check
from extproc.errors import ConfigError
from extproc.settings.telling import TracingSettings
from extproc.telemetry.collector import open_collector

TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
A, B, C = "http://a:4317", "http://b:4317", "https://c:4317/"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    names = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.util.re")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def open_(endpoint: str | None, environ: Mapping[str, str]) -> str | None:
    collector = open_collector(TracingSettings(endpoint=endpoint), environ=environ)
    if collector is None:
        return None
    collector.exporter.shutdown()
    return collector.url


@pytest.mark.parametrize(
    ("endpoint", "environ", "url"),
    [
        pytest.param(None, {}, None, id="nothing said"),
        pytest.param(A, {}, A, id="the setting"),
        pytest.param("", {}, None, id="a setting written out empty"),
        pytest.param(None, {GENERAL: B}, B, id="the variable for all signals"),
        pytest.param(None, {GENERAL: B, TRACES: C}, C, id="the variable for traces goes before it"),
        pytest.param(A, {GENERAL: B, TRACES: C}, A, id="the setting goes before both"),
        pytest.param(None, {GENERAL: " "}, None, id="an empty variable"),
        pytest.param(None, {GENERAL: B, "OTEL_TRACES_EXPORTER": "none"}, None, id="no traces wanted"),
        pytest.param(None, {GENERAL: B, "OTEL_TRACES_EXPORTER": "otlp"}, B, id="traces wanted"),
        pytest.param(A, {"OTEL_TRACES_EXPORTER": "none"}, A, id="the setting wants them all the same"),
        pytest.param(A, {"OTEL_SDK_DISABLED": "TRUE"}, None, id="OpenTelemetry disabled"),
        pytest.param(None, {GENERAL: B, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, B, id="gRPC named"),
        pytest.param(A, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, A, id="the setting is for gRPC anyhow"),
        pytest.param(
            None,
            {
                GENERAL: B,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            },
            B,
            id="gRPC for traces",
        ),
        pytest.param(A, {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=canary,b=c%20d,"}, A, id="headers"),
    ],
)
def test_where_spans_go(endpoint: str | None, environ: Mapping[str, str], url: str | None) -> None:
    assert open_(endpoint, environ) == url


@pytest.mark.parametrize(
    ("endpoint", "environ", "where", "what"),
    [
        pytest.param(None, {GENERAL: "b:4317"}, GENERAL, "must be a URL such as http://collector:4317", id="no scheme"),
        pytest.param(None, {TRACES: "http://b"}, TRACES, "must name the port", id="no port"),
        pytest.param(None, {TRACES: "http://b:0"}, TRACES, "must name the port", id="port 0"),
        pytest.param(None, {TRACES: "http://b:99999"}, TRACES, "must be a URL", id="no such port"),
        pytest.param(None, {TRACES: "http://:4317"}, TRACES, "must be a URL", id="no host"),
        pytest.param(None, {TRACES: "http://b:4318/v1/traces"}, TRACES, "over gRPC", id="the path of OTLP over HTTP"),
        pytest.param(None, {TRACES: "http://me:canary@b:4317"}, TRACES, "no password", id="a password"),
        pytest.param(
            None,
            {GENERAL: B, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            GENERAL,
            "'http/protobuf'; set telemetry.tracing.endpoint",
            id="another protocol",
        ),
        pytest.param(
            A, {"OTEL_EXPORTER_OTLP_HEADERS": "canary"}, "OTEL_EXPORTER_OTLP_HEADERS", "name=value", id="no header"
        ),
        pytest.param(
            A,
            {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=b,=canary"},
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "name=value",
            id="a header without a name",
        ),
    ],
)
def test_what_is_wrong(endpoint: str | None, environ: Mapping[str, str], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_(endpoint, environ)
    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")],
)
def test_a_variable_that_the_library_does_not_take(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=value):
        open_(A, {})


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("collector:4317", "must be a URL"),
        ("ftp://collector:4317", "must be a URL"),
        ("http://collector:4317?x", "must end after the port"),
        ("http://[::1:4317", "must be a URL"),
        ("http://a:canary@b:4317", "no password"),
    ],
)
def test_settings(endpoint: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        TracingSettings(endpoint=endpoint)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "environ", "problem"),
    [
        pytest.param(["--tracing-endpoint=b:4317"], {}, "--tracing-endpoint: must be a URL", id="flag"),
        pytest.param(
            [], {TRACES: "b:4317"}, f"# serve goes without {TRACES}: must be a URL", id="a variable keeps nobody off"
        ),
        pytest.param(
            ["--tracing-endpoint=http://b:4317"],
            {HEADERS: "canary"},
            f"{HEADERS}: must be name=value",
            id="a variable beside a flag does",
        ),
        pytest.param(["--tracing-endpoint=http://b:4317"], {TRACES: "b:4317"}, "", id="a flag goes before it"),
    ],
)
def test_the_command_line(
    flags: Sequence[str], environ: Mapping[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables are often meant for every program of a pod: alone they keep none of them from starting."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(check, flags)
    assert result.exit_code == (2 if flags and problem else 0)
    assert problem in result.output
    assert ("goes without" in result.output) == (bool(problem) and not flags)


PROGRAM = """
import sys
from extproc.errors import ConfigError
from extproc.settings.telling import TracingSettings
from extproc.telemetry.collector import open_collector
import extproc.app

assert open_collector(TracingSettings(), environ={}) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")], "imported while nothing is traced"

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Refuse())
try:
    open_collector(TracingSettings(), environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b:4317"})
except ConfigError as exc:
    print(exc)
"""


def test_without_the_extra() -> None:
    """Nothing of it is imported while nothing is traced, and where it is wanted and not there it is told how to get."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: tracing needs OpenTelemetry" in result.stdout
    assert "pip install 'extproc[tracing]'" in result.stdout


def test_nothing_of_a_clients_context_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry warns of a tracestate that is none, and quotes it, with each request that a client sends so."""
    open_(A, {})
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a b: canary"}
    TraceContextTextMapPropagator().extract(headers)
    assert "canary" not in caplog.text
