"""settings/json_schema: editors say what the loader says, as far as they can."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError
from tests.unit.settings.configs import CONFIGS
from tests.unit.settings.wrong_files import OUT_OF_RANGE, REFUSED

from extproc.settings.json_schema import render_json_schema
from extproc.settings.keys import all_keys
from extproc.settings.load import load_settings
from extproc.settings.schema import Settings

SCHEMA = render_json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def is_taken(document: object) -> bool:
    try:
        Settings.model_validate(document)
    except ValidationError:
        return False
    return True


def at(key: str, value: object) -> dict[str, Any]:
    """A document of one setting."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"].endswith("2020-12/schema")


def test_every_key_has_a_description_and_its_default_as_it_is_written() -> None:
    default: Any = Settings().model_dump(mode="json", by_alias=True)
    for key in all_keys():
        group, value = SCHEMA["$defs"]["Settings"], default
        for part in key.path[:-1]:
            group, value = SCHEMA["$defs"][group["properties"][part]["$ref"].rpartition("/")[2]], value[part]
        stated = group["properties"][key.path[-1]]
        assert stated["default"] == value[key.path[-1]]
        assert stated["description"].startswith(key.field.description or "?")
        assert ("at the next start" in stated["description"]) is key.needs_restart
        assert (f"--{key.flag}." in stated["description"]) is (key.flag is not None)
        assert group["additionalProperties"] is False


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
def test_every_config_of_the_repository_is_valid(text: str) -> None:
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("server:\nprobes: {models: }", id="empty groups"),
        pytest.param("requests: {aliases: {a: phi, b: {targets: [{model: c, weight: 0}, {model: d}]}}}", id="aliases"),
        pytest.param("requests: {aliases: }\nadmission: {objectives: }", id="empty mappings"),
        pytest.param("requests: {maxBodyBytes: 64 MiB, maxHeldBytes: 5, hold: '0'}", id="sizes"),
        pytest.param("probes: {models: {interval: 1h30m, timeout: .5s}, metrics: {interval: 0s}}", id="durations"),
        pytest.param("source: {poolGroup: '', poolName: '', kubeconfig: }", id="written out empty"),
        pytest.param("source: {endpointSelector: a=b, endpointTargetPorts: '8000, 8001'}", id="ports as a text"),
        pytest.param("scheduling: {sessionHeader: X-Session-ID}", id="a header in capitals"),
        pytest.param("admission: {queueDepth: 3, kvUsedRatio: , inFlight: 1.5}", id="limits"),
    ],
)  # fmt: skip
def test_what_the_loader_takes_is_valid(text: str) -> None:
    load_settings(text=text, flag_values={})
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("key", [str(key) for key in all_keys()])
def test_a_wrong_type_and_a_wrong_name_are_refused_by_both(key: str) -> None:
    for document in (at(key, {"a": [1]}), at(key, [{"a": 1}]), at(key + "z", None)):
        assert not VALIDATOR.is_valid(document), document
        assert not is_taken(document), document


@pytest.mark.parametrize(("key", "value"), [*OUT_OF_RANGE.items(), *REFUSED.items()])
def test_what_is_out_of_range_is_refused_by_both(key: str, value: object) -> None:
    assert not is_taken(at(key, value))
    only_loader = {"server.listenAddress", "source.endpointSelector", "source.dnsName", "probes.metrics.staleness"}
    only_loader.add("requests.maxBodyBytes")  # 1GiB is a text to an editor
    assert VALIDATOR.is_valid(at(key, value)) is (key in only_loader)


VALUES = (
    st.none() | st.booleans() | st.integers(-2, 70_000) | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.sampled_from(["", "0", "1s", "0s", "500ms", "1m30s", "64MiB", "0B", "/v1", "http", "8000,8001", "x", "role"])
    | st.lists(st.sampled_from(["role", 8000, "8000", {"name": "queue"}, {"name": "queue", "weight": 1}]), max_size=9)
    | st.dictionaries(st.sampled_from(["", "a"]), st.sampled_from(["phi", "", 1, True, {"targets": []}]), max_size=2)
)  # fmt: skip


@settings(max_examples=600)
@given(st.sampled_from([str(key) for key in all_keys()]), VALUES)
def test_what_is_not_valid_the_loader_does_not_take(key: str, value: object) -> None:
    document = at(key, value)
    assert VALIDATOR.is_valid(document) or not is_taken(document)


def test_patterns_are_ones_that_editors_know() -> None:
    """Of ECMAScript, where `\\Z` and `(?P<…>)` mean nothing."""
    text = str(SCHEMA)
    assert re.search(r"\\Z|\(\?P", text) is None


def test_the_document_says_how_to_use_it() -> None:
    assert "yaml-language-server: $schema=" in Path("docs/configuration.md").read_text()
