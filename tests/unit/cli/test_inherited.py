"""cli/inherited: argument lists and flags of the pickers that users run today."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli import arguments

from extproc.cli.flags import Given, SettingsCommand, read_settings
from extproc.cli.inherited import TRANSLATED, WITHOUT_EFFECT
from extproc.errors import ConfigError
from extproc.settings.load import flags
from extproc.settings.schema import MetricsProbeSettings, Settings

V1, V1ALPHA2 = "inference.networking.k8s.io", "inference.networking.x-k8s.io"
TODAYS = {
    *("refresh-metrics-interval", "metrics-staleness-threshold", "engine-label-key"),
    *("model-server-metrics-path", "model-server-metrics-port"),
}
POOL = {"source.pool_name": "phi", "source.pool_namespace": "llm"}

READ_EVERY_50_MS = MetricsProbeSettings.model_validate({"interval": "50ms"})


def read(*given: str) -> Given:
    """What a command line says."""
    taken: list[Given] = []
    SettingsCommand("serve", callback=lambda **options: taken.append(read_settings(options)), help_text="").main(
        [*given], standalone_mode=False
    )
    return taken[0]


def changes(settings: Settings) -> dict[str, Any]:
    """What differs from the defaults, as `group.setting` → value."""
    default = Settings()
    return {
        f"{group}.{name}": value
        for group in Settings.model_fields
        for name, value in getattr(settings, group)
        if value != getattr(getattr(default, group), name)
    }


@pytest.mark.parametrize(
    ("given", "effective", "without_effect"),
    [
        pytest.param(
            arguments.IGW_0_3,
            {"source.pool_name": "phi", "telemetry.verbosity": 4},
            "zap-encoder",
            id="Inference Extension 0.3",
        ),
        pytest.param(
            arguments.SCHEDULER_0_2_1,
            POOL | {"telemetry.verbosity": 1},
            "zap-encoder enable-pprof model-server-metrics-scheme model-server-metrics-https-insecure-skip-verify",
            id="llm-d-inference-scheduler 0.2.1",
        ),
        pytest.param(
            arguments.SCHEDULER_0_2_1_TRITON,
            POOL | {"telemetry.verbosity": 1},
            "zap-encoder enable-pprof total-queued-requests-metric "
            "kv-cache-usage-percentage-metric lora-info-metric model-server-metrics-scheme "
            "model-server-metrics-https-insecure-skip-verify",
            id="llm-d-inference-scheduler 0.2.1, Triton",
        ),
        pytest.param(
            arguments.MODELSERVICE_0_2,
            POOL | {"telemetry.verbosity": 4},
            "zap-encoder",
            id="llm-d-modelservice 0.2",
        ),
        pytest.param(
            arguments.IGW_1_0,
            POOL | {"source.pool_group": V1ALPHA2, "telemetry.verbosity": 1},
            "zap-encoder enable-pprof ha-enable-leader-election model-server-metrics-scheme "
            "model-server-metrics-https-insecure-skip-verify",
            id="Inference Extension 1.0",
        ),
        pytest.param(
            arguments.SCHEDULER_0_4_0,
            POOL | {"telemetry.verbosity": 1, "probes.metrics": READ_EVERY_50_MS},
            "zap-encoder kv-cache-usage-percentage-metric enable-pprof tracing metrics-endpoint-auth",
            id="llm-d-inference-scheduler 0.4.0",
        ),
        pytest.param(
            arguments.ROUTER_0_10,
            POOL
            | {
                "source.pool_group": V1,
                "server.drain_timeout_s": 60.0,
                "telemetry.verbosity": 1,
                "probes.metrics": READ_EVERY_50_MS,
            },
            "zap-encoder ha-enable-leader-election tracing metrics-endpoint-auth",
            id="llm-d-router 0.10",
        ),
        pytest.param(
            arguments.ROUTER_0_10_STANDALONE,
            {
                "source.endpoint_selector": "app=phi,tier!=test",
                "source.endpoint_target_ports": (8000, 8001),
                "server.secure_serving": False,
            },
            "zap-encoder health-checking allow-experimental-plugins tracing",
            id="llm-d-router 0.10, standalone",
        ),
        pytest.param(
            arguments.KSERVE,
            POOL
            | {
                "source.pool_group": V1ALPHA2,
                "server.cert_path": "/var/run/kserve/tls",
                "probes.scheme": "https",
                "probes.insecure_skip_verify": True,
                "telemetry.verbosity": 4,
            },
            "zap-encoder enable-pprof",
            id="KServe",
        ),
    ],
)
def test_argument_lists_as_charts_render_them(
    tmp_path: Path, given: Sequence[str], effective: dict[str, Any], without_effect: str
) -> None:
    config = tmp_path / "default-plugins.yaml"
    config.write_text("{apiVersion: inference.networking.x-k8s.io/v1alpha1, kind: EndpointPickerConfig, plugins: []}")
    places = {"CONFIG": str(config), "TEXT": config.read_text()}
    result = read(*[places.get(word, word) for word in given])
    assert changes(result.settings) == effective
    assert sorted(result.without_effect) == sorted(without_effect.split())
    assert result.notes == ()


@pytest.mark.parametrize("name", [*WITHOUT_EFFECT])
@pytest.mark.parametrize("value", ["", "5s", "50000000", "json", "-1"])
def test_a_flag_without_effect_is_taken_with_any_value(name: str, value: str) -> None:
    given = read(f"--{name}={value}")
    assert (given.settings, given.without_effect) == (Settings(), (name,))


@pytest.mark.parametrize("name", [name for name, is_bool in WITHOUT_EFFECT.items() if is_bool])
@pytest.mark.parametrize("value", [[], ["true"], ["false"], ["False"]])
def test_a_bool_without_effect_takes_a_word_that_is_one(name: str, value: list[str]) -> None:
    result = read(f"--{name}", *value, "--v=4")
    assert (result.settings.telemetry.verbosity, result.without_effect) == (4, (name,))


def test_no_name_is_ours_as_well() -> None:
    assert not (set(WITHOUT_EFFECT) | set(TRANSLATED)) & set(flags())
    assert not set(WITHOUT_EFFECT) & set(TRANSLATED)


@pytest.mark.parametrize(
    ("given", "group", "without_effect"),
    [
        pytest.param(["--poolAPIVersion", "v1"], V1, "", id="v1"),
        pytest.param(["--poolAPIVersion=v1alpha2"], V1ALPHA2, "", id="v1alpha2"),
        pytest.param(["--pool-api-version", "v1"], V1, "", id="in kebab-case"),
        pytest.param([f"-poolAPIVersion={V1ALPHA2}/v1alpha2"], V1ALPHA2, "", id="with its group"),
        pytest.param(["--poolAPIVersion=v1", f"--pool-group={V1ALPHA2}"], V1ALPHA2, "", id="the group is given"),
        pytest.param(["--poolAPIVersion=v7"], None, "pool-api-version", id="unknown"),
        pytest.param(["--poolAPIVersion=apps/v1"], None, "pool-api-version", id="of an unknown group"),
    ],
)
def test_the_pools_version_says_its_group(given: list[str], group: str | None, without_effect: str) -> None:
    result = read(*given)
    assert (result.settings.source.pool_group, " ".join(result.without_effect)) == (group, without_effect)


@pytest.mark.parametrize(
    ("given", "verbosity", "without_effect"),
    [
        pytest.param(["--zap-log-level=debug"], 4, "", id="debug"),
        pytest.param(["--zap-log-level", "info"], 2, "", id="info"),
        pytest.param(["--zap-log-level=error"], 0, "", id="error"),
        pytest.param(["--zap-log-level=1"], 2, "", id="1 is more than info"),
        pytest.param(["--zap-log-level=5"], 5, "", id="a number"),
        pytest.param(["--zap-log-level=127"], 10, "", id="the most"),
        pytest.param(["--zap-log-level=error", "-v=4"], 0, "", id="it outdoes -v"),
        pytest.param(["--zap-log-level=loud", "-v=4"], 4, "zap-log-level", id="unknown"),
    ],
)
def test_zaps_level_is_a_verbosity(given: list[str], verbosity: int, without_effect: str) -> None:
    result = read(*given)
    assert (result.settings.telemetry.verbosity, " ".join(result.without_effect)) == (verbosity, without_effect)


SCHEME, VERIFY = "model-server-metrics-scheme", "model-server-metrics-https-insecure-skip-verify"


@pytest.mark.parametrize(
    ("given", "scheme", "insecure", "without_effect"),
    [
        pytest.param([f"--{SCHEME}=https"], "https", True, [], id="unverified, as there"),
        pytest.param([f"--{SCHEME}=https", f"--{VERIFY}"], "https", True, [], id="said to be unverified"),
        pytest.param([f"--{SCHEME}=https", f"--{VERIFY}=false"], "https", False, [], id="verified"),
        pytest.param(
            [f"--{SCHEME}=https", "--config-text={probes: {insecureSkipVerify: false}}"],
            *("https", False, []),
            id="the document knows better",
        ),
        pytest.param([f"--{SCHEME}=http", f"--{VERIFY}=true"], "http", False, [SCHEME, VERIFY], id="plaintext"),
        pytest.param(
            [f"--{SCHEME}=https", "--model-server-metrics-port=0"], *("https", True, []), id="port 0 is their own"
        ),
    ],
)
def test_engines_with_metrics_by_tls_are_asked_by_tls(
    given: list[str], scheme: str, insecure: bool, without_effect: list[str]
) -> None:
    result = read(*given)
    assert (result.settings.probes.scheme, result.settings.probes.insecure_skip_verify) == (scheme, insecure)
    assert [*result.without_effect] == without_effect


def test_metrics_by_tls_on_a_port_of_their_own_say_nothing_of_the_others() -> None:
    probes = read(f"--{SCHEME}=https", "--model-server-metrics-port=9400").settings.probes
    assert (probes.scheme, probes.metrics.scheme, probes.metrics.port) == ("http", "https", 9400)
    assert probes.insecure_skip_verify


def test_the_destination_cannot_be_told_elsewhere() -> None:
    good = ["-destinationEndpointHintKey", "x-gateway-destination-endpoint"]
    given = read(*good, "-destinationEndpointHintMetadataNamespace=envoy.lb")
    assert (given.settings, given.without_effect) == (Settings(), ())
    with pytest.raises(ConfigError) as caught:
        read("-destinationEndpointHintKey=target-pod", "-DestinationEndpointHintMetadataNamespace=", "--v=x")
    assert [problem.where for problem in caught.value.problems] == [
        "--destination-endpoint-hint-key",
        "--destination-endpoint-hint-metadata-namespace",
        "--v",
    ]


def test_what_has_no_effect_is_one_line() -> None:
    assert read("--tracing", "--zap-encoder=json", "--tracing=false").remarks() == [
        "flags without effect here: --tracing, --zap-encoder"
    ]
    assert read("--v=4").remarks() == []


@pytest.mark.parametrize(
    ("given", "effective"),
    [
        pytest.param(["--refresh-metrics-interval", "50ms"], {"interval_s": 0.05}, id="an interval"),
        pytest.param(["--refreshMetricsInterval=50000000"], {"interval_s": 0.05}, id="an interval in nanoseconds"),
        pytest.param(["--refresh-metrics-interval=0"], {"interval_s": 0.0}, id="none is read"),
        pytest.param(["--metrics-staleness-threshold=5s"], {"staleness_s": 5.0}, id="an age"),
        pytest.param(["-modelServerMetricsPath", "/load"], {"path": "/load"}, id="a path"),
        pytest.param(["--model-server-metrics-port=9400"], {"port": 9400}, id="a port"),
    ],
)
def test_how_the_engines_metrics_are_read(given: list[str], effective: dict[str, Any]) -> None:
    result = read(*given)
    metrics = Settings().probes.metrics
    assert result.settings.probes.metrics == metrics.model_copy(update=effective)
    assert result.without_effect == ()


def test_the_label_that_tells_the_engine() -> None:
    assert read("--engine-label-key=example.com/engine").settings.source.engine_label_key == "example.com/engine"
    assert read("--engine-label-key=").settings == Settings()


@pytest.mark.parametrize("name", sorted(set(flags()) & TODAYS))
def test_the_guide_tells_of_a_flag_that_is_ours_too(name: str) -> None:
    assert f"`--{name}`" in Path("docs/migrate-from-llm-d.md").read_text()


@pytest.mark.parametrize("name", [*WITHOUT_EFFECT, *TRANSLATED])
def test_the_guide_tells_of_every_flag(name: str) -> None:
    assert f"`--{name}`" in Path("docs/migrate-from-llm-d.md").read_text()
