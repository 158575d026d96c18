"""settings/llmd: what an EndpointPickerConfig of llm-d or the Inference Extension comes to."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import ConfigError
from extproc.scheduling.catalogue import PICKERS as OUR_PICKERS
from extproc.scheduling.catalogue import SCORERS as OUR_SCORERS
from extproc.settings.llmd import (
    DONE_ANYWAY,
    PICKERS,
    SCORERS,
    Mapped,
    is_picker_config,
    map_picker_config,
)
from extproc.settings.load import load, load_settings
from extproc.settings.schema import Settings

HEAD = "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n"
LLMD_HEAD = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n"

DEFAULT_PLUGINS_0_5 = (
    HEAD
    + """
plugins:
- type: queue-scorer
- type: kv-cache-scorer
- type: prefix-cache-scorer
  parameters: {hashBlockSize: 64, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250}
- type: max-score-picker
  parameters: {maxNumOfEndpoints: 1}
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 1}
  - {pluginRef: kv-cache-scorer, weight: 1}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: max-score-picker}
"""
)
"""The default of the inferencepool chart 0.5, which llm-d-inference-scheduler 0.2.1 is installed with."""

CACHE_TRACKING_0_2 = (
    HEAD
    + """
plugins:
- type: single-profile-handler
- type: decode-filter
- type: prefix-cache-scorer
  parameters: {mode: cache_tracking, kvCacheRedisAddr: "redis:6379"}
- type: load-aware-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: decode-filter
  - {pluginRef: prefix-cache-scorer, weight: 2.0}
  - {pluginRef: load-aware-scorer, weight: 1.0}
  - pluginRef: max-score-picker
"""
)
"""llm-d-inference-scheduler 0.2, cache-aware."""

DISAGGREGATION_0_4 = (
    HEAD
    + """
plugins:
- type: prefill-header-handler
- type: prefix-cache-scorer
  parameters: {hashBlockSize: 5, maxPrefixBlocksToMatch: 256, lruCapacityPerServer: 31250}
- type: queue-scorer
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
- type: pd-profile-handler
  parameters: {threshold: 10, hashBlockSize: 5}
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: max-score-picker
  - {pluginRef: prefix-cache-scorer, weight: 2}
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: max-score-picker
  - {pluginRef: prefix-cache-scorer, weight: 2}
  - {pluginRef: queue-scorer, weight: 1}
"""
)
"""llm-d-inference-scheduler 0.4, prefill and decode apart."""

DEFAULT_PLUGINS_1_2 = (
    HEAD
    + """
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
"""
)
"""The default of the inferencepool chart 1.2, which llm-d-inference-scheduler 0.4.0 is installed with."""

DEFAULT_PLUGINS_0_10 = (
    LLMD_HEAD
    + """
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: metrics-data-source
  parameters: {scheme: "http", path: "/metrics", insecureSkipVerify: true}
- type: core-metrics-extractor
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
"""
)
"""The default of llm-d-router's chart 0.10."""

PRECISE_PREFIX_0_10 = (
    LLMD_HEAD
    + """
featureGates: [dataLayer]
plugins:
- {type: tokenizer, parameters: {modelName: hf-repo/model-name}}
- type: endpoint-notification-source
- type: single-profile-handler
- type: precise-prefix-cache-scorer
  parameters: {tokenProcessorConfig: {blockSize: 64, hashSeed: "42"}}
- type: active-request-scorer
- type: max-score-picker
dataLayer:
  sources:
  - {pluginRef: endpoint-notification-source, extractors: [{pluginRef: precise-prefix-cache-scorer}]}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: tokenizer
  - {pluginRef: precise-prefix-cache-scorer, weight: 2.0}
  - pluginRef: active-request-scorer
  - pluginRef: max-score-picker
"""
)
"""llm-d-router 0.10, with the engines' own events about their caches."""

IN_PROFILE = "schedulingProfiles[0].plugins"


@pytest.mark.parametrize(
    ("text", "scorers", "ignored"),
    [
        pytest.param(
            DEFAULT_PLUGINS_0_5,
            {"queue": 1.0, "kv-cache": 1.0, "prefix": 3.0},
            ["plugins[2].parameters"],
            id="default-plugins, 0.2.1",
        ),
        pytest.param(
            CACHE_TRACKING_0_2,
            {"prefix": 2.0, "queue": 1.0},
            [f"{IN_PROFILE}[0]", "plugins[2].parameters"],
            id="prefix cache, 0.2.1",
        ),
        pytest.param(
            DEFAULT_PLUGINS_1_2, {"queue": 2.0, "kv-cache": 2.0, "prefix": 3.0}, [], id="default-plugins, 0.4.0"
        ),
        pytest.param(
            DISAGGREGATION_0_4,
            {"prefix": 2.0, "queue": 1.0},
            [
                "schedulingProfiles[0]",
                "schedulingProfiles[1].plugins[0]",
                "plugins[1].parameters",
                "plugins[0]",
                "plugins[6]",
            ],
            id="prefill and decode, 0.4.0",
        ),
        pytest.param(
            DEFAULT_PLUGINS_0_10, {"queue": 2.0, "kv-cache": 2.0, "prefix": 3.0}, [], id="default-plugins, 0.10"
        ),
        pytest.param(
            PRECISE_PREFIX_0_10,
            {"prefix": 2.0, "inflight": 1.0},
            ["featureGates", "dataLayer", f"{IN_PROFILE}[0]", "plugins[3].parameters", "plugins[1]"],
            id="precise prefix cache, 0.10",
        ),
    ],
)
def test_documents_of_each_version(text: str, scorers: dict[str, float], ignored: list[str]) -> None:
    """Their scorers with their weights; all else is the default."""
    settings, notes, *_ = load(text=text, flag_values={})
    assert {scorer.name: scorer.weight for scorer in settings.scheduling.scorers} == scorers
    listed = [{"name": name, "weight": weight} for name, weight in scorers.items()]
    assert settings == Settings.model_validate({"scheduling": {"scorers": listed}})
    assert [note.where for note in notes] == ignored


def test_a_note_says_what_and_where() -> None:
    notes = load(text=DISAGGREGATION_0_4, flag_values={}).notes
    assert [str(note) for note in notes] == [
        "schedulingProfiles[0]: prefill has no effect here: only the profile decode is used",
        "schedulingProfiles[1].plugins[0]: there is no plugin like decode-filter here",
        "plugins[1].parameters: have no effect here",
        "plugins[0]: prefill-header-handler has no effect here",
        "plugins[6]: pd-profile-handler has no effect here",
    ]


SOME_SCORERS = {"queue-scorer": "queue", "prefix-cache-scorer": "prefix", "precise-prefix-cache-scorer": "prefix"}
"""A table as later versions have it."""


def mapped(*plugins: dict[str, Any], profile: list[dict[str, Any]] | None = None) -> Mapped:
    """What these plugins come to, with a table of scorers that we have."""
    document: dict[str, Any] = {**yaml.safe_load(HEAD), "plugins": [*plugins]}
    if profile is not None:
        document["schedulingProfiles"] = [{"name": "default", "plugins": profile}]
    return map_picker_config(document, scorers={**SCORERS, **SOME_SCORERS})


QUEUE, PREFIX, PRECISE = (
    {"type": "queue-scorer"},
    {"type": "prefix-cache-scorer"},
    {"name": "p", "type": [*SOME_SCORERS][2]},
)


@pytest.mark.parametrize(
    ("profile", "scorers"),
    [
        pytest.param([{"pluginRef": "queue-scorer"}], {"queue": 1.0}, id="1 if there is none"),
        pytest.param([{"pluginRef": "queue-scorer", "weight": 2}], {"queue": 2.0}, id="an integer"),
        pytest.param([{"pluginRef": "queue-scorer", "weight": 0.5}], {"queue": 0.5}, id="a fraction"),
        pytest.param([{"pluginRef": "queue-scorer", "weight": 0}], {"queue": 0.0}, id="0"),
        pytest.param(
            [{"pluginRef": "queue-scorer", "weight": 1}, {"pluginRef": "prefix-cache-scorer", "weight": 3}],
            {"queue": 1.0, "prefix": 3.0},
            id="two",
        ),
        pytest.param(
            [{"pluginRef": "p", "weight": 2}, {"pluginRef": "prefix-cache-scorer", "weight": 3}],
            {"prefix": 5.0},
            id="two of theirs that are one of ours",
        ),
    ],
)
def test_weights(profile: list[dict[str, Any]], scorers: dict[str, float]) -> None:
    document, _ = mapped(QUEUE, PREFIX, PRECISE, profile=profile)
    assert {scorer["name"]: scorer["weight"] for scorer in document["scheduling"]["scorers"]} == scorers


@pytest.mark.parametrize("weight", ["2", -1, float("nan"), float("inf"), 10**400, True, [], {}])
def test_a_weight_that_is_none_is_noted_and_is_1(weight: object) -> None:
    document, notes = mapped(QUEUE, profile=[{"pluginRef": "queue-scorer", "weight": weight}])
    assert document["scheduling"]["scorers"] == [{"name": "queue", "weight": 1.0}]
    assert [note.where for note in notes] == [f"{IN_PROFILE}[0].weight"]


def test_without_a_profile_all_plugins_are_one() -> None:
    document, notes = mapped(QUEUE, {"type": "random-picker"}, {"type": "decode-filter"})
    assert document == {"scheduling": {"scorers": [{"name": "queue", "weight": 1.0}]}}
    assert [note.where for note in notes] == ["plugins[1]", "plugins[2]"]


def test_what_a_scorer_of_ours_is_told_there_is_noted() -> None:
    _, notes = mapped({**PREFIX, "parameters": {"blockSize": 64}}, profile=[{"pluginRef": "prefix-cache-scorer"}])
    assert [str(note) for note in notes] == ["plugins[0].parameters: have no effect here"]


@pytest.mark.parametrize(
    ("parameters", "fallbacks", "noted"),
    [
        pytest.param(None, None, [], id="none"),
        pytest.param({}, None, [], id="an empty mapping"),
        pytest.param({"maxNumOfEndpoints": 1}, None, [], id="one endpoint"),
        pytest.param({"maxNumOfEndpoints": 3}, 2, [], id="and two fallbacks"),
        pytest.param({"maxNumOfEndpoints": 3, "x": 1}, 2, ["plugins[0].parameters"], id="and what is not known"),
        pytest.param({"maxNumOfEndpoints": 17}, None, ["plugins[0].parameters"], id="too many"),
        pytest.param({"maxNumOfEndpoints": "3"}, None, ["plugins[0].parameters"], id="a text"),
        pytest.param({"maxNumOfEndpoints": True}, None, ["plugins[0].parameters"], id="a truth"),
        pytest.param(["maxNumOfEndpoints"], None, ["plugins[0].parameters"], id="a list"),
    ],
)
def test_how_many_endpoints_a_picker_returns(parameters: object, fallbacks: int | None, noted: list[str]) -> None:
    picker = {"type": "max-score-picker", "parameters": parameters}
    document, notes = mapped(picker, profile=[{"pluginRef": "max-score-picker"}])
    assert document["scheduling"] == {"picker": "max-score"}
    assert document.get("envoy") == (None if fallbacks is None else {"fallbackEndpoints": fallbacks})
    assert [note.where for note in notes] == noted


@pytest.mark.parametrize(
    ("parameters", "probes"),
    [
        pytest.param({"scheme": "https"}, ("https", True), id="TLS, unverified as there"),
        pytest.param({"scheme": "https", "insecureSkipVerify": False}, ("https", False), id="TLS"),
        pytest.param({"scheme": "http", "insecureSkipVerify": True}, ("http", False), id="plaintext"),
        pytest.param(["https"], ("http", False), id="a list"),
    ],
)
def test_engines_with_metrics_by_tls_are_asked_by_tls(parameters: object, probes: tuple[str, bool]) -> None:
    source = {"type": "metrics-data-source", "parameters": parameters}
    settings = Settings.model_validate(mapped(source, profile=[]).document)
    assert (settings.probes.scheme, settings.probes.insecure_skip_verify) == probes


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        pytest.param({"scheme": "http", "path": "/load"}, "/load", id="another"),
        pytest.param({"scheme": "https", "path": "/load"}, "/load", id="by TLS"),
        pytest.param({}, "/metrics", id="none"),
        pytest.param({"path": "load"}, "/metrics", id="no path"),
        pytest.param({"path": 5}, "/metrics", id="a number"),
    ],
)
def test_where_the_engines_metrics_are(parameters: object, path: str) -> None:
    document, notes = mapped({"type": "metrics-data-source", "parameters": parameters}, profile=[])
    assert Settings.model_validate(document).probes.metrics.path == path
    assert notes == ()


@pytest.mark.parametrize(
    ("parameters", "key", "noted"),
    [
        pytest.param(None, None, [], id="none"),
        pytest.param({"engineLabelKey": "example.com/engine"}, "example.com/engine", [], id="its own"),
        pytest.param({"engineLabelKey": ""}, None, [], id="an empty one"),
        pytest.param({"engineLabelKey": 5}, None, [], id="a number"),
        pytest.param({"defaultEngine": "sglang"}, None, ["plugins[0].parameters"], id="what has no effect"),
    ],
)
def test_the_label_that_tells_the_engine(parameters: object, key: str | None, noted: list[str]) -> None:
    document, notes = mapped({"type": "core-metrics-extractor", "parameters": parameters}, profile=[])
    assert Settings.model_validate(document).source.engine_label_key == key
    assert [note.where for note in notes] == noted


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["default"], 0),
        (["anything"], 0),
        (["prefill", "decode"], 1),
        (["decode", "prefill"], 0),
        (["prefix", "default", "slo"], 1),
        (["prefill", "encode"], 0),
        ([None, 5], 0),
    ],
)
def test_which_profile_is_used(names: list[object], used: int) -> None:
    profiles = [{"name": name, "plugins": [{"pluginRef": "nobody"}]} for name in names]
    document = {**yaml.safe_load(HEAD), "plugins": [], "schedulingProfiles": profiles}
    wheres = [note.where for note in map_picker_config(document).notes]
    assert [where for where in wheres if where.endswith("plugins[0]")] == [f"schedulingProfiles[{used}].plugins[0]"]
    assert len(wheres) == len(names)


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        pytest.param("", ["plugins"], id="no plugins"),
        pytest.param("plugins:", ["plugins"], id="nothing for plugins"),
        pytest.param("plugins: {type: x}", ["plugins"], id="a mapping of plugins"),
        pytest.param("plugins: [x, {name: y}, {type: [z]}, null]", [f"plugins[{n}]" for n in range(4)], id="no types"),
        pytest.param("plugins: [{type: x}, {type: x}]", ["plugins[1]", "plugins[0]"], id="a name twice"),
        pytest.param("plugins: [{type: x, name: [y]}]", ["plugins[0]"], id="a name that is none"),
        pytest.param("plugins: [{type: my-own-scorer}]", ["plugins[0]"], id="an unknown type"),
        pytest.param("plugins: []\nschedulingProfiles: 5", ["schedulingProfiles"], id="a number for profiles"),
        pytest.param("plugins: []\nschedulingProfiles: [5]", ["schedulingProfiles[0].plugins"], id="a number in them"),
        pytest.param(
            "plugins: []\nschedulingProfiles: [{plugins: [{pluginRef: x}, y, {pluginRef: [z]}]}]",
            [f"{IN_PROFILE}[{n}]" for n in range(3)],
            id="references to nothing",
        ),
        pytest.param("plugins: []\nnonsense: 1\n5: 6", ["nonsense", "5"], id="unknown sections"),
        pytest.param(
            "plugins: []\nsaturationDetector: {queueDepthThreshold: -1, kvCacheUtilThreshold: 2, pluginRef: x, 5: 6}",
            [f"saturationDetector.{key}" for key in ("queueDepthThreshold", "kvCacheUtilThreshold", "pluginRef", "5")],
            id="limits that are none",
        ),
        pytest.param("plugins: []\nsaturationDetector: 5", ["saturationDetector"], id="a number for limits"),
        pytest.param("plugins: []\nmetadata: {name: x}", [], id="metadata says nothing"),
    ],
)
def test_what_is_broken_is_noted_and_starts(text: str, ignored: list[str]) -> None:
    settings, notes, *_ = load(text=HEAD + text, flag_values={})
    assert settings == Settings()
    assert [note.where for note in notes] == ignored


def test_limits_of_saturation_are_taken() -> None:
    text = "plugins: []\nsaturationDetector: {queueDepthThreshold: 3, kvCacheUtilThreshold: 0.65}"
    settings, notes, *_ = load(text=HEAD + text, flag_values={})
    assert (settings.admission.queue_depth, settings.admission.kv_used_ratio) == (3.0, 0.65)
    assert not notes


@pytest.mark.parametrize("version", ["apps/v1", "v1", "5", "", "[]"])
def test_another_group_is_noted_and_read(version: str) -> None:
    notes = load(text=f"apiVersion: {version}\nkind: EndpointPickerConfig\nplugins: []", flag_values={}).notes
    assert [note.where for note in notes] == ["apiVersion"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("kind: EndpointPickerConfig\nplugins: [", "is not YAML", id="unfinished"),
        pytest.param(
            f"{HEAD}plugins: []\nplugins: []", "plugins: stands twice, in the lines 3 and 4", id="a key twice"
        ),
    ],
)
def test_what_is_no_yaml_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load(text=text, flag_values={})


@pytest.mark.parametrize("kind", ["endpointpickerconfig", "ConfigMap", "5"])
def test_any_other_kind_is_a_problem(kind: str) -> None:
    with pytest.raises(ConfigError, match="kind: unknown key"):
        load(text=f"kind: {kind}\nserver: {{grpcPort: 1}}", flag_values={})


def test_flags_lie_over_what_it_says() -> None:
    assert load_settings(text=DEFAULT_PLUGINS_0_10, flag_values={"grpc-port": "1"}).server.grpc_port == 1


def test_our_own_documents_have_no_notes() -> None:
    assert load(text="server: {grpcPort: 1}", flag_values={}).notes == ()
    assert not is_picker_config({"server": {}})


def test_the_tables_name_what_we_have() -> None:
    assert {name for name in SCORERS.values() if name} <= set(OUR_SCORERS)
    assert {name for name in PICKERS.values() if name} <= set(OUR_PICKERS)
    assert not (set(SCORERS) & set(PICKERS)) | (DONE_ANYWAY & (set(SCORERS) | set(PICKERS)))


@pytest.mark.parametrize("name", [*SCORERS, *PICKERS, *DONE_ANYWAY])
def test_the_guide_tells_of_every_type(name: str) -> None:
    assert f"`{name}`" in Path("docs/migrate-from-llm-d.md").read_text()


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*SCORERS, *PICKERS, "default"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["type", "name", "pluginRef", "weight", "parameters", "plugins", "scheme"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["apiVersion", "plugins", "schedulingProfiles", "dataLayer"]), _values))
def test_no_document_keeps_a_server_from_starting(document: dict[str, Any]) -> None:
    result = map_picker_config({**document, "kind": "EndpointPickerConfig"}, scorers=dict.fromkeys(SCORERS, "queue"))
    Settings.model_validate(result.document)
    assert all(str(note).isprintable() for note in result.notes)
