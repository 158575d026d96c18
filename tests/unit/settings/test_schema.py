"""settings/schema: what a value may be, and what the defaults are."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from extproc.settings.group import Group
from extproc.settings.schema import (
    AdmissionSettings,
    AliasSettings,
    EnvoySettings,
    MetricsProbeSettings,
    ModelProbeSettings,
    RequestSettings,
    SchedulingSettings,
    ScorerSettings,
    ServerSettings,
    Settings,
    SourceSettings,
    TargetSettings,
)
from extproc.settings.telling import TelemetrySettings
from extproc.values.names import Alias, Target


def groups(group: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield group
    for field in group.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from groups(field.annotation)
    if group is Settings:
        yield from (ScorerSettings, AliasSettings, TargetSettings)


def test_everything_has_a_default() -> None:
    assert Settings() == Settings.model_validate({}) == Settings.model_validate(dict.fromkeys(["server", "probes"]))


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("server.grpc_port", 9002),
        ("server.grpc_health_port", 9003),
        ("server.metrics_port", 9090),
        ("server.secure_serving", True),
        ("server.cert_path", None),
        ("server.enable_cert_reload", True),
        ("server.max_connection_age_s", 0.0),
        ("server.max_connection_age_grace_s", 0.0),
        ("server.drain_delay_s", 5.0),
        ("probes.models.interval_s", 5.0),
        ("requests.max_body_bytes", 64 << 20),
        ("requests.max_held_bytes", 512 << 20),
        ("requests.unknown_model", "reject"),
        ("envoy.decision_timeout_s", 10.0),
        ("envoy.fallback_endpoints", 0),
        ("scheduling.filters", ("role",)),
        ("scheduling.scorers", (ScorerSettings(name="ttft"), ScorerSettings(name="lora-affinity"))),
        ("scheduling.picker", "max-score"),
        ("scheduling.prefix_blocks", 1_000_000),
        ("scheduling.session_header", None),
        ("admission.objectives", {}),
    ],
)
def test_the_defaults_that_the_contract_states(path: str, default: object) -> None:
    value: Any = Settings()
    for name in path.split("."):
        value = getattr(value, name)
    assert value == default


@pytest.mark.parametrize("group", [*groups()], ids=lambda group: group.__name__)
def test_every_setting_has_a_reason_and_keys_without_units(group: type[BaseModel]) -> None:
    for name, field in group.model_fields.items():
        is_group = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert is_group or field.description, name
        assert field.alias
        assert not field.alias.endswith("S"), "units stand in names, not in keys"


@pytest.mark.parametrize("group", [*groups()], ids=lambda group: group.__name__)
def test_no_group_takes_an_unknown_key(group: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        group.model_validate({"nonsense": 1})


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        (1, 1),
        ("1", 1),
        ("100B", 100),
        ("1KiB", 1 << 10),
        ("64MiB", 64 << 20),
        ("64 MiB", 64 << 20),
        (" 64MiB ", 64 << 20),
    ],
)
def test_sizes(value: object, size_bytes: int) -> None:
    assert RequestSettings.model_validate({"maxBodyBytes": value}).max_body_bytes == size_bytes


@pytest.mark.parametrize("value", [0, -1, "0", "-1", "64MB", "64mib", "1.5MiB", "MiB", "", 1.0, True, None, [1]])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValidationError):
        RequestSettings.model_validate({"maxBodyBytes": value})


@pytest.mark.parametrize(
    ("aliases", "built"),
    [
        pytest.param(None, (), id="nothing below"),
        pytest.param({"fast": "phi"}, (Alias("fast", (Target("phi"),)),), id="a text is its model"),
        pytest.param({"fast": {"targets": [{"model": "phi"}]}}, (Alias("fast", (Target("phi", 1),)),), id="weight 1"),
        pytest.param(
            {"fast": {"targets": [{"model": "phi", "weight": 9}, {"model": "gemma", "weight": 0}]}, "phi": "phi"},
            (Alias("fast", (Target("phi", 9), Target("gemma", 0))), Alias("phi", (Target("phi"),))),
            id="weights, in order, and an alias for itself",
        ),
    ],
)
def test_aliases(aliases: object, built: tuple[Alias, ...]) -> None:
    assert RequestSettings.model_validate({"aliases": aliases}).build_aliases() == built


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        pytest.param([], "at least one model", id="none"),
        pytest.param([{"model": "phi", "weight": 0}, {"model": "gemma", "weight": 0}], "weights are 0", id="no weight"),
        pytest.param([{"model": "phi"}, {"model": "phi"}], "stands twice", id="one twice"),
        pytest.param([{"model": "phi", "weight": -1}], "greater than or equal to 0", id="less than 0"),
        pytest.param([{"model": "phi", "weight": 1.5}], "valid integer", id="a fraction"),
        pytest.param([{"model": "phi", "weight": True}], "valid integer", id="no number"),
        pytest.param([{"model": ""}], "at least 1 character", id="no name"),
        pytest.param([{"weight": 1}], "Field required", id="no model"),
        pytest.param(["phi"], "valid dictionary", id="a text among them"),
    ],
)
def test_what_is_no_alias(targets: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        RequestSettings.model_validate({"aliases": {"fast": {"targets": targets}}})


@pytest.mark.parametrize("value", ["1GiB", "4GiB", 2**31, 10**30])
def test_a_body_that_grpc_cannot_receive_is_no_setting(value: object) -> None:
    """gRPC takes message sizes up to 2^31 - 1; the server allows for twice the limit and 1 MiB."""
    with pytest.raises(ValidationError):
        RequestSettings.model_validate({"maxBodyBytes": value})


@pytest.mark.parametrize(("value", "seconds"), [("2s", 2.0), ("50ms", 0.05), ("1m30s", 90.0), ("0", 0.0), ("0s", 0.0)])
def test_durations(value: str, seconds: float) -> None:
    assert ServerSettings.model_validate({"drainDelay": value}).drain_delay_s == seconds


@pytest.mark.parametrize("value", [5, 5.0, "5", "50000000", 0, True, None, "-1s", "soon", ["1s"]])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValidationError):
        ServerSettings.model_validate({"drainDelay": value})


@pytest.mark.parametrize(
    ("group", "key"),
    [
        (ModelProbeSettings, "interval"),
        (ModelProbeSettings, "timeout"),
        (MetricsProbeSettings, "timeout"),
        (MetricsProbeSettings, "staleness"),
        (EnvoySettings, "decisionTimeout"),
    ],
)
def test_durations_that_must_not_be_zero(group: type[Group], key: str) -> None:
    with pytest.raises(ValidationError, match="must be more than 0"):
        group.model_validate({key: "0s"})


@pytest.mark.parametrize(
    ("group", "key", "good", "bad"),
    [
        (ServerSettings, "grpcPort", [0, 1, 65535], [-1, 65536, "9002", 9002.0, True, None]),
        (ServerSettings, "secureServing", [True, False], ["true", 1, None]),
        (ServerSettings, "listenAddress", ["::", "0.0.0.0"], [5, None]),
        (EnvoySettings, "fallbackEndpoints", [0, 15], [-1, 16]),
        (RequestSettings, "unknownModel", ["reject", "passthrough"], ["Reject", "", None]),
        (TelemetrySettings, "v", [], [1]),
        (TelemetrySettings, "verbosity", [0, 10], [-1, 11, "4"]),
        (ScorerSettings, "name", ["ttft", "kv-cache", "inflight"], ["kv_cache", "recent-routes", None]),
        (SchedulingSettings, "filters", [[], ["role"], ["role", "role"]], [["model"], "role", None, [None]]),
        (SchedulingSettings, "picker", ["max-score", "power-of-two"], ["random", None]),
        (SchedulingSettings, "prefixBlocks", [0, 1, 100_000_000], [-1, 100_000_001, 1.5, "1", None]),
        (AdmissionSettings, "queueDepth", [0, 5, 0.5, None], [-1, "many", float("inf"), float("nan")]),
        (AdmissionSettings, "kvUsedRatio", [0, 0.8, 1, None], [-0.1, 1.1, 80, float("nan")]),
        (AdmissionSettings, "inFlight", [1, 32, None], [0, -1, float("inf")]),
        (AdmissionSettings, "objectives", [{}, {"batch": -1, "chat": 0}, None], [{"batch": "low"}, {"a": 0.5}, [], 1]),
        (MetricsProbeSettings, "interval", ["0s", "50ms"], [1, "-1s", "5"]),
        (MetricsProbeSettings, "path", ["/metrics"], ["metrics", ""]),
        (MetricsProbeSettings, "port", [0, 9400], [-1, 65536, "9400"]),
        (MetricsProbeSettings, "scheme", [None, "http", "https"], ["h2c", ""]),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_a_value_may_be(group: type[Group], key: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        group.model_validate({key: value})
    for value in bad:
        with pytest.raises(ValidationError):
            group.model_validate({key: value})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().server.grpc_port = 1


def scorers(*listed: object, **scheduling: object) -> Settings:
    return Settings.model_validate({"scheduling": {"scorers": listed, **scheduling}})


@pytest.mark.parametrize(
    ("weight", "is_good"),
    [(0, True), (2, True), (0.5, True), (-1, False), ("heavy", False), (None, False), (float("nan"), False)],
)
def test_the_weight_of_a_scorer(weight: object, is_good: bool) -> None:
    if is_good:
        assert scorers({"name": "queue", "weight": weight}).scheduling.scorers[0].weight == weight
    else:
        with pytest.raises(ValidationError, match="weight"):
            scorers({"name": "queue", "weight": weight})


def test_a_scorer_has_the_weight_1_and_none_is_named_by_default() -> None:
    assert scorers({"name": "queue"}).scheduling.scorers[0].weight == 1.0
    with pytest.raises(ValidationError, match="name"):
        scorers({"weight": 1})


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        pytest.param([], "at least one scorer", id="none"),
        pytest.param([{"name": "queue"}, {"name": "queue", "weight": 2}], "stands twice", id="one twice"),
        pytest.param([{"name": "session"}], "needs sessionHeader", id="session without its header"),
        pytest.param([{"name": "nonsense"}], "1 validation error", id="a name that is none: one problem, not two"),
    ],
)
def test_what_is_no_list_of_scorers(listed: list[object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        scorers(*listed)


def test_a_session_has_a_header() -> None:
    found = scorers({"name": "session"}, sessionHeader="x-session-id").scheduling
    assert (found.scorers[0].name, found.session_header) == ("session", "x-session-id")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param({}, None, id="none"),
        pytest.param(
            {"poolName": "a", "poolNamespace": "b", "poolGroup": "inference.networking.k8s.io"}, None, id="a pool"
        ),
        pytest.param({"poolName": "", "dnsName": "a.b:80", "poolGroup": ""}, None, id="empty ones are none"),
        pytest.param({"endpointSelector": "a=b", "endpointTargetPorts": [8000, 1]}, None, id="a selector"),
        pytest.param({"endpointSelector": "a=b", "endpointTargetPorts": "8000, 1"}, None, id="its ports as text"),
        pytest.param({"endpointSelector": "a=b", "endpointTargetPorts": [8000, 8000]}, None, id="a port twice"),
        pytest.param({"endpointSelector": "a=b"}, "needs endpointTargetPorts", id="a selector without ports"),
        pytest.param({"poolName": "a", "endpointTargetPorts": [1]}, "goes with endpointSelector", id="ports of a pool"),
        pytest.param({"poolName": "a", "endpointsFile": "b"}, "endpointsFile and poolName are given", id="two sources"),
        pytest.param({"poolGroup": "example.test"}, "Input should be", id="another group"),
        pytest.param({"endpointSelector": "a", "endpointTargetPorts": [0]}, "greater than or equal to 1", id="port 0"),
        pytest.param({"endpointSelector": "a", "endpointTargetPorts": "x"}, "separated by commas", id="no ports"),
        pytest.param({"endpointSelector": "a", "endpointTargetPorts": [*range(1, 10)]}, "at most 8", id="nine ports"),
    ],
)
def test_where_the_endpoints_come_from(values: dict[str, object], problem: str | None) -> None:
    if problem is None:
        SourceSettings.model_validate(values)
    else:
        with pytest.raises(ValidationError, match=problem):
            SourceSettings.model_validate(values)


def select(selector: str) -> SourceSettings:
    return SourceSettings.model_validate({"endpointSelector": selector, "endpointTargetPorts": [1]})


@pytest.mark.parametrize(
    "selector",
    [
        "app=llm", "app==llm", "app != llm", "app", "!app", "app in (a,b)", "app notin ( a , b )", "app=",
        "example.test/app=llm,tier!=x,gpu in (a,b),!old", "a.b_c-d=1.2_3-4",
    ],
)  # fmt: skip
def test_label_selectors(selector: str) -> None:
    assert select(selector).endpoint_selector == selector


@pytest.mark.parametrize("selector", [",", "a=b,", "=a", "a=b=c", "a in b", "a in ()x", "-a", "a=-b", "a b", "ä=b"])
def test_no_label_selectors(selector: str) -> None:
    with pytest.raises(ValidationError, match="is no label selector"):
        select(selector)


@pytest.mark.parametrize("name", ["pool.ns:8000", "pool:1", "pool.ns.svc.cluster.local.:65535", "_x._tcp.a:80"])
def test_dns_names(name: str) -> None:
    assert SourceSettings.model_validate({"dnsName": name}).dns_name == name


@pytest.mark.parametrize(
    "name",
    [
        "pool",
        "pool:",
        "pool:0",
        "pool:65536",
        ":80",
        "10.0.0.1:80",
        "[::1]:80",
        "a b:80",
        "a..b:1",
        "a" * 64 + ".b:1",
        "a" * 60 + " :1",
    ],
)
def test_no_dns_names(name: str) -> None:
    with pytest.raises(ValidationError, match=r"is not host:port|is no DNS name"):
        SourceSettings.model_validate({"dnsName": name})


def test_ports_that_stand_twice_are_one() -> None:
    for ports in ([8000, 8001, 8000], "8000,8001,8000"):
        values = {"endpointSelector": "a=b", "endpointTargetPorts": ports}
        assert SourceSettings.model_validate(values).endpoint_target_ports == (8000, 8001)
