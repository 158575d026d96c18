"""parsers/prompt_text: values as bytes, counted beyond the limit, media as hashes."""

import json
from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_document import UNREADABLE
from extproc.parsers.prompt_text import (
    MEDIA,
    MEDIA_BYTES,
    MOST_BYTES,
    MOST_VALUES,
    SHORT_BYTES,
    PromptText,
    TooManyValuesError,
    kind_of,
)


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def string(text: str, *, ascii_only: bool = True) -> msgspec.Raw:
    return raw(json.dumps(text, ensure_ascii=ascii_only))


@pytest.mark.parametrize(
    ("value", "kind"),
    [("[]", "["), ("{}", "{"), ('""', '"'), ("null", "n"), ("-1", "-"), ("", "")],
)
def test_the_kind_of_a_value(value: str, kind: str) -> None:
    assert kind_of(raw(value)) == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param('"hi"', "hi", id="a string"),
        pytest.param('""', "", id="an empty one"),
        pytest.param(r'"\u0068\/\n\""', 'h/\n"', id="one with escapes"),
        pytest.param('"' + "x" * SHORT_BYTES + '"', "x" * SHORT_BYTES, id="a longer one"),
        pytest.param('"' + "x" * SHORT_BYTES + r'\n"', "x" * SHORT_BYTES + "\n", id="a longer one with escapes"),
        pytest.param("null", "", id="null"),
        pytest.param("7", "7", id="a number"),
        pytest.param("true", "true", id="true"),
        pytest.param('{ "b" : [1, 2],\n"a":"x y" }', '{"b":[1,2],"a":"x y"}', id="an object, its keys in their order"),
        pytest.param(r'["\/"]', '["/"]', id="an escaped slash in an array"),
        pytest.param(r'["\u00fc\/\u0041\n"]', '["ü/A\\n"]', id="escapes of letters in an array"),
        pytest.param(r'["\"\\\b\f\n\r\t"]', r'["\"\\\b\f\n\r\t"]', id="escapes of what has no other spelling"),
        pytest.param(r'["\u0022\u005c\u0008\u000c\u000a\u000d\u0009"]', r'["\"\\\b\f\n\r\t"]', id="the same by number"),
    ],
)
def test_a_value(value: str, text: str) -> None:
    collected = PromptText()
    collected.add_value(raw(value))
    assert collected.prompt("").text == text.encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param('"u"', '{"url": "u"}', id="in an object"),
        pytest.param('{"url":"u","detail":"low"}', '{ "detail" : "high", "url" : "u" }', id="beside what is no data"),
        pytest.param('"data:image/png;base64,AA"', r'"data:image\/png;base64,AA"', id="an escaped slash"),
        pytest.param('"' + "A/" * 9000 + '"', '"' + r"A\/" * 9000 + '"', id="escaped slashes in what is long"),
        pytest.param('{"data":"A","file_id":"f"}', '{"file_id":"f","data":"A"}', id="two in another order"),
    ],
)
def test_media_of_the_same_data_are_the_same(one: str, other: str) -> None:
    assert media_text(one) == media_text(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param('"u"', '"v"', id="another address"),
        pytest.param('{"url":"u"}', '{"url":"v"}', id="another in an object"),
        pytest.param('{"data":"A","file_id":"f"}', '{"data":"A","file_id":"g"}', id="the second of two"),
        pytest.param('{"x":1}', '{"x":2}', id="another object without data"),
        pytest.param("1", "2", id="another number"),
    ],
)
def test_media_of_other_data_are_others(one: str, other: str) -> None:
    assert media_text(one) != media_text(other)


def media_text(value: str) -> bytes:
    collected = PromptText()
    collected.add_media(raw(value))
    prompt = collected.prompt("")
    assert prompt.size_bytes == len(prompt.text) + MEDIA_BYTES
    return prompt.text


def test_media_take_a_hash() -> None:
    assert media_text('"' + "A" * 1_000_000 + '"') == MEDIA + xxhash.xxh3_128_digest(b"A" * 1_000_000)


def test_marks_are_in_no_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        MEDIA.decode()


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("room_bytes", [*range(1, 14), 100, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 2])
@pytest.mark.parametrize(
    "letters",
    [
        "x",
        "ü ",
        "ü",
        "\n",
        "😀 ",
        "😀",
        "\\",
        "\\ud83d\n",
        "\\😀",
        "ab\\",
        "\\ud83d",
        "中",
        "\n" + "中" * 9,
        "\n" + "x" * 99,
    ],
)
def test_what_ends_at_the_limit_is_the_same_however_it_is_spelled(
    letters: str, room_bytes: int, ascii_only: bool
) -> None:
    before = "b" * (MOST_BYTES - room_bytes)
    collected = PromptText()
    collected.add_string(string(before))
    collected.add_string(string(letters * SHORT_BYTES, ascii_only=ascii_only))
    collected.add_string(string("behind it"))
    assert collected.prompt("").text == (before + letters * SHORT_BYTES + "behind it").encode()[:MOST_BYTES]


@given(
    strings=st.lists(st.tuples(st.text(max_size=9), st.sampled_from([1, 1, 3, 5000, 30_000])), max_size=5),
    ascii_only=st.booleans(),
)
def test_text_and_size_are_those_of_the_strings(strings: list[tuple[str, int]], ascii_only: bool) -> None:
    collected = PromptText()
    written = [string(text * times, ascii_only=ascii_only) for text, times in strings]
    for each in written:
        collected.add_string(each)
    prompt, whole = collected.prompt("salt"), "".join(text * times for text, times in strings).encode()
    assert (prompt.text == whole[:MOST_BYTES]) is True
    assert prompt.salt == "salt"
    if len(whole) <= MOST_BYTES or not any(b"\\" in bytes(each) for each in written):
        assert prompt.size_bytes == len(whole)


@pytest.mark.parametrize("value", ['"\\ud83d"', '["\\ud83d"]', '["\\u0041', "[" * 5000 + "]" * 5000])
def test_what_cannot_be_read(value: str) -> None:
    with pytest.raises(UNREADABLE):
        PromptText().add_value(raw(value))


def test_values_are_counted() -> None:
    collected = PromptText()
    collected.count(MOST_VALUES - 1)
    collected.count(1)
    with pytest.raises(TooManyValuesError):
        collected.count(1)


@pytest.mark.parametrize(
    ("size", "is_condensed"),
    [pytest.param(MOST_BYTES, True, id="at it"), pytest.param(MOST_BYTES + 1, False, id="above it")],
)
def test_a_value_that_is_no_string_is_built_up_to_a_limit(size: int, is_condensed: bool) -> None:
    """Any more of brackets would be many objects: it stays as it is written."""
    written: Any = "[ " + "1," * ((size - 4) // 2) + "1]" + " " * (size % 2)
    collected = PromptText()
    collected.add_value(raw(written[:-1] + "]" if size % 2 else written))
    assert collected.prompt("").text.startswith(b"[1") == is_condensed
