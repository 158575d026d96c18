"""settings/effective: the settings in effect, and where each comes from."""

import json

import pytest
import yaml

from extproc.settings.effective import describe_settings, render_annotated
from extproc.settings.keys import all_keys
from extproc.settings.load import Loaded, load, load_settings
from extproc.settings.schema import Settings
from extproc.values import admin

PICKER_CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: my-own-scorer}, {type: max-score-picker}]
"""


def origins(loaded: Loaded) -> dict[str, str]:
    """Those that are no defaults."""
    settings = describe_settings(loaded, None).settings
    return {setting.key: setting.origin for setting in settings if setting.origin != "default"}


@pytest.mark.parametrize(
    ("text", "flags", "implied", "expected"),
    [
        pytest.param("", {}, {}, {}, id="nothing"),
        pytest.param("server: {grpcPort: 1}", {}, {}, {"server.grpcPort": "file"}, id="the file"),
        pytest.param("server: {grpcPort: 9002}", {}, {}, {"server.grpcPort": "file"}, id="the file, as the default is"),
        pytest.param("server:\nprobes: {models: }", {}, {}, {}, id="empty groups"),
        pytest.param("", {"grpc-port": "1"}, {}, {"server.grpcPort": "flag"}, id="a flag"),
        pytest.param("server: {grpcPort: 2}", {"grpc-port": "1"}, {}, {"server.grpcPort": "flag"}, id="a flag over it"),
        pytest.param("", {}, {("probes", "scheme"): "https"}, {"probes.scheme": "flag"}, id="a foreign flag"),
        pytest.param(
            "probes: {scheme: http}", {}, {("probes", "scheme"): "https"}, {"probes.scheme": "file"},
            id="a foreign flag that the file outdoes",
        ),
        pytest.param(
            "requests: {aliases: {fast: phi}}\nadmission: {objectives: {batch: -1}}", {}, {},
            {"requests.aliases": "file", "admission.objectives": "file"}, id="mappings are one value",
        ),
        pytest.param(
            PICKER_CONFIG, {}, {}, {"scheduling.scorers": "file", "scheduling.picker": "file"},
            id="an EndpointPickerConfig",
        ),
    ],
)  # fmt: skip
def test_origins(
    text: str, flags: dict[str, str], implied: dict[tuple[str, ...], object], expected: dict[str, str]
) -> None:
    assert origins(load(text=text, flag_values=flags, implied=implied)) == expected


def test_every_key_with_its_value_and_whether_it_needs_a_restart() -> None:
    settings = describe_settings(load(text="requests: {hold: 1500ms}", flag_values={}), None).settings
    assert [setting.key for setting in settings] == [str(key) for key in all_keys()]
    by_key = {setting.key: setting for setting in settings}
    assert by_key["requests.hold"] == admin.Setting("requests.hold", '"1.5s"', "file", False)
    assert by_key["server.grpcPort"] == admin.Setting("server.grpcPort", "9002", "default", True)
    assert json.loads(by_key["scheduling.scorers"].value)[0] == {"name": "ttft", "weight": 1.0}
    assert {setting.key for setting in settings if setting.needs_restart} == {
        str(key) for key in all_keys() if key.needs_restart
    }


def test_the_file_and_what_has_no_effect_are_told_beside_them() -> None:
    file = admin.ConfigFile("/etc/config.yaml", 2.0, ("server: no",))
    loaded = load(text=PICKER_CONFIG, flag_values={}, without_effect=("zap-encoder",))
    config = describe_settings(loaded, file)
    assert config.file is file
    assert config.without_effect == (
        "--zap-encoder has no effect here",
        "plugins[1]: my-own-scorer has no effect here",
    )
    assert load_settings(text=config.yaml, flag_values={}) == loaded.settings


def test_the_annotated_file_is_a_config_file_again() -> None:
    text = """
        server: {grpcPort: 9002}
        requests: {aliases: {fast: phi, "odd: #name": {targets: [{model: "a b", weight: 2}]}, grpcPort: x}}
        probes: {models: {path: "/very/long/path/that/would/be/wrapped/if/there/were/ spaces in it and all that/x"}}
        scheduling: {scorers: [{name: queue}]}
    """
    loaded = load(text=text, flag_values={"v": "3"})
    shown = render_annotated(loaded)
    assert load_settings(text=shown, flag_values={}) == loaded.settings
    commented = [line.split() for line in shown.splitlines() if line.endswith(("  # file", "  # flag"))]
    assert [(line[0], line[-1]) for line in commented] == [
        ("grpcPort:", "file"),
        ("path:", "file"),
        ("aliases:", "file"),
        ("scorers:", "file"),
        ("verbosity:", "flag"),
    ]


def test_defaults_have_no_comment() -> None:
    shown = render_annotated(load(flag_values={}))
    assert "#" not in shown
    assert yaml.safe_load(shown) == Settings().model_dump(mode="json", by_alias=True)
