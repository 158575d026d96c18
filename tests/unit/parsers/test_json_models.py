"""parsers/json_models: each top-level `model` in turn, told by its position."""

import pytest

from extproc.parsers.json_document import MOST_LONE_SURROGATES, UNREADABLE
from extproc.parsers.json_models import JSON_STRING, MOST_MODEL_KEYS, mark_models, read_marks


def positions_of(text: bytes) -> list[int]:
    positions: list[int] = []
    marked = mark_models(text)
    assert marked is not None
    read_marks(marked, positions)
    return positions


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        pytest.param(b'{"model":"phi"}', b'{"model":9,"_":"phi"}', id="at the top"),
        pytest.param(b'{"x":{"model":1}}', b'{"x":{"model":14,"_":1}}', id="nested"),
        pytest.param(b'{"model" : 1}', b'{"model" : 11,"_":1}', id="white space"),
        pytest.param(b'{"m\\u006fdel":1}', b'{"m\\u006fdel":14,"_":1}', id="escaped"),
        pytest.param(b'{"x":"\\"model\\":1"}', b'{"x":"\\"model\\":1"}', id="in a text"),
        pytest.param(b'{"x":NaN,"y":-Infinity}', b'{"x":100,"y":-10000000}', id="NaN, masked"),
        pytest.param(b'{"x":"\\ud83d"}', b'{"x":"\\ufffd"}', id="half an emoji, masked"),
        pytest.param(b'"\\ud800"' * (MOST_LONE_SURROGATES + 1), None, id="too many of them"),
        pytest.param(b'"model":' * (MOST_MODEL_KEYS + 1), None, id="too many keys"),
    ],
)
def test_what_is_marked(text: bytes, marked: bytes | None) -> None:
    assert mark_models(text) == marked


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        pytest.param(b'{"model":"phi"}', [9], id="one"),
        pytest.param(b'{"model":1,"model":2}', [9, 19], id="two"),
        pytest.param(b'{"model":{"model":1}}', [9], id="not what is nested"),
        pytest.param(b"{}", [], id="none"),
    ],
)
def test_positions(text: bytes, positions: list[int]) -> None:
    assert positions_of(text) == positions


def test_those_before_the_damage_are_told() -> None:
    positions: list[int] = []
    with pytest.raises(UNREADABLE):
        read_marks(bytearray(b'{"model":9,"_":1,"model":2,"_":'), positions)
    assert positions == [9, 2]


@pytest.mark.parametrize("string", [b'""', b'"a"', b'"\\""', b'"\\\\"', b'"a\nb"'])
def test_a_string_ends_with_its_own_quote(string: bytes) -> None:
    found = JSON_STRING.match(string + b'"x"')
    assert found
    assert found[0] == string
