"""cli/flags: Go's flag syntax, and the flags of the pickers that users run today."""

import click
import pytest
from click.testing import CliRunner

from extproc.cli.flags import Given, SettingsCommand, normalise, read_settings
from extproc.errors import ConfigError
from extproc.settings.schema import Settings

KNOWN = {"grpc-port": False, "secure-serving": True, "config-file": False, "v": False, "drain-timeout": False}
IDLE = {"tracing": True, "pool-api-version": False}


@pytest.mark.parametrize(
    ("arguments", "normal"),
    [
        pytest.param(["--grpc-port=1"], ["--grpc-port=1"], id="two dashes, equals"),
        pytest.param(["-grpc-port=1"], ["--grpc-port=1"], id="one dash, equals"),
        pytest.param(["--grpc-port", "1"], ["--grpc-port=1"], id="two dashes, space"),
        pytest.param(["-grpc-port", "1"], ["--grpc-port=1"], id="one dash, space"),
        pytest.param(["-grpcPort=1"], ["--grpc-port=1"], id="camelCase"),
        pytest.param(["--grpcPort", "1"], ["--grpc-port=1"], id="camelCase, space"),
        pytest.param(["-v=4"], ["--v=4"], id="one letter"),
        pytest.param(["-v", "4"], ["--v=4"], id="one letter, space"),
        pytest.param(["--secure-serving"], ["--secure-serving=true"], id="a bool alone"),
        pytest.param(["--secure-serving=false"], ["--secure-serving=false"], id="a bool that is false"),
        pytest.param(["-secureServing=0", "-v=1"], ["--secure-serving=0", "--v=1"], id="then another"),
        pytest.param(["--secure-serving", "x"], ["--secure-serving=true", "x"], id="a bool takes no next word"),
        pytest.param(
            ["--secure-serving", "true", "-v=1"], ["--secure-serving=true", "--v=1"], id="but what it is anyway"
        ),
        pytest.param(["--tracing", "false", "-v=1"], ["--tracing=false", "--v=1"], id="one that does nothing takes it"),
        pytest.param(["--poolAPIVersion", "v1"], ["--pool-api-version=v1"], id="camelCase with letters in a row"),
        pytest.param(["--config-file=a=b"], ["--config-file=a=b"], id="an equals sign in the value"),
        pytest.param(["--config-file="], ["--config-file="], id="an empty value"),
        pytest.param(["--config-file", ""], ["--config-file="], id="an empty word as value"),
        pytest.param(["--drain-timeout", "-1s"], ["--drain-timeout=-1s"], id="a value that begins with a dash"),
        pytest.param(["--config-file", "--v=1"], ["--config-file=--v=1"], id="a value like a flag, as Go takes it"),
        pytest.param(["file", "-v=1", "-"], ["file", "--v=1", "-"], id="other words stay"),
        pytest.param(["-v=1", "--", "-v=2"], ["--v=1", "--", "-v=2"], id="nothing is a flag after two dashes"),
        pytest.param(["--help"], ["--help"], id="help"),
        pytest.param(["-help"], ["--help"], id="help, one dash"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_gos_syntax(arguments: list[str], normal: list[str]) -> None:
    assert normalise(arguments, KNOWN | IDLE, idle=IDLE) == normal


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--grpc-prot=1"], "unknown flag --grpc-prot, did you mean --grpc-port?", id="mistyped"),
        pytest.param(["-grpcProt=1"], "unknown flag --grpcProt, did you mean --grpc-port?", id="mistyped camelCase"),
        pytest.param(["--zzz"], "unknown flag --zzz", id="like no other"),
        pytest.param(["---grpc-port=1"], "unknown flag ---grpc-port, did you mean --grpc-port?", id="three dashes"),
        pytest.param(["-v4"], "unknown flag --v4, did you mean --v?", id="no bundling of letters"),
        pytest.param(["--grpc-port"], "flag --grpc-port needs a value", id="no value"),
        pytest.param(
            ["--secure-serving", "false"],
            "write --secure-serving=false: this flag takes its value after = only",
            id="what Go would take for true",
        ),
        pytest.param(["-v=1", "-grpcPort"], "flag --grpc-port needs a value", id="no value after others"),
    ],
)
def test_what_is_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        normalise(arguments, KNOWN)
    assert caught.value.message == complaint
    assert caught.value.exit_code == 2


def read(*arguments: str) -> Given:
    """What a command line says."""
    taken: list[Given] = []

    def take(**options: str | None) -> None:
        taken.append(read_settings(options))

    command = SettingsCommand("serve", callback=take, help_text="")
    command.main([*arguments], standalone_mode=False)
    return taken[0]


def test_a_command_line_as_users_have_it() -> None:
    settings = read(
        "-grpcPort", "9005", "--secure-serving=false", "-v=4", "--refresh-metrics-interval=50ms", "--drain-timeout=2s"
    ).settings
    assert (settings.server.grpc_port, settings.server.secure_serving, settings.telemetry.verbosity) == (9005, False, 4)
    assert settings.server.drain_timeout_s == 2.0
    assert settings.probes.metrics.interval_s == 0.05


@pytest.mark.parametrize(
    ("value", "seconds"), [("50ms", 0.05), ("2s", 2.0), ("1m30s", 90.0), ("50000000", 0.05), ("0", 0.0)]
)
def test_durations_are_gos_or_nanoseconds(value: str, seconds: float) -> None:
    assert read("--drain-timeout", value).settings.server.drain_timeout_s == seconds


def test_the_certificate_flags_of_todays_pickers() -> None:
    server = read("--cert-path", "/certs", "-enableCertReload=false").settings.server
    assert (server.secure_serving, server.cert_path, server.enable_cert_reload) == (True, "/certs", False)
    assert read("--enable-cert-reload", "--cert-path=").settings.server.enable_cert_reload


def test_problems_of_all_kinds_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read("--pool-group=x", "--v=x", "--config-text={server: {grpcPort: x}}")
    assert [problem.where for problem in caught.value.problems] == ["--pool-group", "--v", "server.grpcPort"]


def test_the_last_of_two_stands() -> None:
    assert read("-v=1", "--v=3").settings.telemetry.verbosity == 3


@pytest.mark.parametrize("arguments", [["--config-file="], ["--config-text="], ["--config-file=", "--config-text="]])
def test_an_empty_config_flag_is_none_as_in_go(arguments: list[str]) -> None:
    assert read(*arguments).settings == Settings()


def test_help_names_every_flag_with_its_setting() -> None:
    command = SettingsCommand("serve", callback=lambda **_: None, help_text="Serves.")
    shown = CliRunner().invoke(command, ["--help"])
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    assert "--grpc-port VALUE" in text
    assert "[server.grpcPort: 9002]" in text
    assert "--secure-serving BOOL" in text
    assert "--drain-timeout DURATION" in text
    assert "--tracing TEXT" not in text
    assert "pool-api-version" not in text
