"""settings/problems: what is wrong, in words for the author of the document."""

import pytest

from extproc.errors import ConfigError
from extproc.settings.load import load_settings
from extproc.settings.problems import parse_mapping, read_text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("sever: {}", "sever: unknown key, did you mean server?", id="a key mistyped"),
        pytest.param(
            "server: {grpc_port: 1}", "server.grpc_port: unknown key, did you mean grpcPort?", id="snake_case"
        ),
        pytest.param("server: {GRPCPORT: 1}", "server.GRPCPORT: unknown key, did you mean grpcPort?", id="upper case"),
        pytest.param(
            "probes: {models: {intervl: 1s}}", "probes.models.intervl: unknown key, did you mean interval?", id="nested"
        ),
        pytest.param(
            "scheduling: {scorers: [{name: queue}, {name: prefix, wieght: 1}]}",
            "scheduling.scorers[1].wieght: unknown key, did you mean weight?",
            id="in a list",
        ),
        pytest.param(
            "source: {xyz: 1}", "source.xyz: unknown key (known: endpointsFile, poolName", id="a key like no other"
        ),
        pytest.param(
            "probes: {scheme: htps}", "probes.scheme: 'htps' is none of http, https, did you mean https?", id="a choice"
        ),
        pytest.param("probes: {scheme: 5}", "probes.scheme: 5 is none of http, https", id="no word"),
        pytest.param(
            f"envoy: {{readUsage: 0x{'f' * 5000}}}",
            "envoy.readUsage: input should be a valid boolean; got a very long int",
            id="a number beyond all digits",
        ),
        pytest.param("server: []", "server: must be a mapping; got []", id="a group that is none"),
        pytest.param(
            "server: {drainDelay: 5}",
            "server.drainDelay: a duration needs a unit, such as 500ms or 2s; got 5",
            id="no unit",
        ),
        pytest.param(
            "server: {grpcPort: many}", "server.grpcPort: input should be a valid integer; got 'many'", id="no number"
        ),
        pytest.param("scheduling: {scorers: recent}", "scheduling.scorers: must be a list; got 'recent'", id="no list"),
        pytest.param("requests: {aliases: fast}", "requests.aliases: must be a mapping; got 'fast'", id="no mapping"),
        pytest.param(
            "requests: {aliases: {fast: {targets: [{model: phi, wieght: 2}]}}}",
            "requests.aliases.fast.targets[0].wieght: unknown key, did you mean weight?",
            id="below a name of the author's",
        ),
        pytest.param(
            "requests: {aliases: {fast: {target: [], targets: [{model: phi}]}}}",
            "requests.aliases.fast.target: unknown key, did you mean targets?",
            id="right below a name of the author's",
        ),
        pytest.param(
            "requests: {aliases: {'': phi}}",
            "requests.aliases['']: string should have at least 1 character",
            id="an empty name",
        ),
        pytest.param(
            "requests: {aliases: {4: phi}}",
            "requests.aliases[4]: input should be a valid string",
            id="a name in digits",
        ),
        pytest.param("requests: {aliases: {fast: }}", "requests.aliases.fast.targets: is required", id="nothing below"),
    ],
)
def test_problems_read_as_sentences(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(text=text, flag_values={})
    assert str(caught.value.problems[0]).startswith(problem)
    assert str(caught.value).startswith("--config-text: 1 problem\n  ")


def test_problems_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"^--config-text: 2 problems\n  a: .*\n  b: "):
        load_settings(text="{a: 1, b: 2}", flag_values={})


@pytest.mark.parametrize(
    ("text", "document"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param("a: 1", {"a": 1}, id="one key"),
        pytest.param("{a: {b: [1, x]}}", {"a": {"b": [1, "x"]}}, id="nested"),
        pytest.param("{a: &x {b: 1}, c: {<<: *x}}", {"a": {"b": 1}, "c": {"b": 1}}, id="merged"),
        pytest.param("{a: &x {b: 1}, c: {<<: *x, b: 2}}", {"a": {"b": 1}, "c": {"b": 2}}, id="merged, one key its own"),
    ],
)
def test_parse_mapping(text: str, document: dict[str, object]) -> None:
    assert parse_mapping(text, "x.yaml") == document


def test_the_origin_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^x\.yaml: 1 problem\n  must be a mapping"):
        parse_mapping("[]", "x.yaml")


@pytest.mark.parametrize("text", ["a: " + ":".join(["1"] * 200) + ".0", "a: !!int x"], ids=["an overflow", "no number"])
def test_what_its_constructors_raise_is_a_problem_of_the_document(text: str) -> None:
    with pytest.raises(ConfigError, match="is not YAML"):
        parse_mapping(text, "x.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("a: b: c", "line 1, column 5: mapping values are not allowed here", id="a place alone"),
        pytest.param(
            "a:\n  b: {c: 1\nd: 2",
            "line 3, column 2: expected ',' or '}', but got ':'; while parsing a flow mapping from line 2, column 6",
            id="a place and its beginning",
        ),
        pytest.param(
            "a: [",
            "line 1, column 5: expected the node content, but found '<stream end>'; while parsing a flow node",
            id="a beginning at the same place",
        ),
        pytest.param(
            "a: 1\n---\nb: 1",
            "line 2, column 1: expected a single document in the stream from line 1, column 1, "
            "but found another document",
            id="a sentence of two places",
        ),
        pytest.param(
            "\n{a: 1}: 2", "line 2, column 1: found unhashable key; while constructing a mapping", id="its place alone"
        ),
        pytest.param("a: 1\nb: \0", "line 2, column 4: the character U+0000 is not allowed", id="a character"),
        pytest.param("\0", "line 1, column 1: the character U+0000 is not allowed", id="the first character"),
        pytest.param("\na: [!!bool x]", "line 2, column 5: 'x' cannot be read as bool", id="no boolean"),
        pytest.param("a: 2024-99-99", "line 1, column 4: '2024-99-99' cannot be read as timestamp", id="no date"),
        pytest.param(
            "a: !!python/name:os.system",
            "line 1, column 4: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
            id="a foreign tag",
        ),
        pytest.param('a: "\\U00110000"', "chr() arg not in range(0x110000)", id="what has no place"),
    ],
)
def test_the_place_of_a_yaml_error_comes_first(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mapping(text, "x.yaml")
    assert str(caught.value) == f"x.yaml: 1 problem\n  is not YAML: {problem}"


def test_nesting_has_a_bound() -> None:
    """Far below that at which Python gives up."""
    inner = parse_mapping("a: " + "[" * 80 + "]" * 80, "x.yaml")["a"]
    assert isinstance(inner, list)
    with pytest.raises(ConfigError, match="is nested too deeply"):
        parse_mapping("a: " + "[" * 120 + "]" * 120, "x.yaml")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("a: 1\na: 2", ["a: stands twice, in the lines 1 and 2"], id="at the top"),
        pytest.param(
            "a: {b: 1,\n b: 2}\nc: [{d: 1, d: 1}]",
            ["a.b: stands twice, in the lines 1 and 2", "c[0].d: stands twice, in the lines 3 and 3"],
            id="below, and in a list",
        ),
        pytest.param("a: &x {b: 1, b: 2}\nc: *x", ["a.b: stands twice, in the lines 1 and 1"], id="told once"),
    ],
)
def test_each_key_that_stands_twice_is_told(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_mapping(text, "x.yaml")
    assert [str(problem) for problem in caught.value.problems] == problems


def test_a_path_that_is_none_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text("a\0b")


def test_a_value_is_shown_in_short() -> None:
    with pytest.raises(ConfigError) as error:
        load_settings(text="requests: {unknownModel: " + "x" * 100_000 + "}", flag_values={})
    assert len(str(error.value)) < 500
