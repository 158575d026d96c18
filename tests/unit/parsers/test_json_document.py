"""parsers/json_document: members as they stand, and what engines read beyond RFC 8259 made readable."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_document import (
    UNREADABLE,
    Document,
    decode_chat,
    decode_document,
    decode_messages,
    has_braces,
    without_lone_surrogates,
)

NAMES = Document.__struct_fields__


@pytest.mark.parametrize("name", NAMES)
def test_a_member_is_as_it_stands(name: str) -> None:
    document = decode_document(b'{"x":{"%b":1},"%b": { "a" : "\\u0041" } }' % (name.encode(), name.encode()))
    found = {other: bytes(getattr(document, other)) for other in NAMES}
    assert found == dict.fromkeys(NAMES, b"") | {name: b'{ "a" : "\\u0041" }'}


def test_of_two_the_last_counts() -> None:
    assert bytes(decode_document(b'{"prompt":1,"prompt":2}').prompt) == b"2"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"x":1', id="cut off"),
        pytest.param(b'{"x":NaN}', id="NaN"),
        pytest.param(b'{"x":' + b"[" * 9000 + b"]" * 9000 + b"}", id="nested too deeply"),
    ],
)
def test_what_is_not_read(content: bytes) -> None:
    with pytest.raises(UNREADABLE):
        decode_document(content)
    with pytest.raises(UNREADABLE):
        decode_chat(content)


def test_messages_are_read_with_the_other_members_as_they_are_by_themselves() -> None:
    messages = b'[{"role":"user","content":[{"text":"hi"}]},{"content":null,"x":1}]'
    chat = decode_chat(b'{"messages":null,"model":"phi","messages":%b}' % messages)
    assert (bytes(chat.model), chat.messages) == (b'"phi"', decode_messages(messages))
    assert decode_chat(b'{"messages":null}').messages is decode_chat(b"{}").messages is None


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b"", False, id="empty"),
        pytest.param(b"{ }", False, id="one fewer"),
        pytest.param(b"x{{x", True, id="as many"),
        pytest.param(bytearray(b'{"{":{}}'), True, id="more"),
    ],
)
def test_has_braces(content: bytes | bytearray, found: bool) -> None:
    assert has_braces(content, 2) == found


@pytest.mark.parametrize("messages", [b'"hi"', b"{}", b"[7]", b'[{"role":7}]', b'[{"role":null}]'])
def test_messages_that_are_none_are_left_to_the_document(messages: bytes) -> None:
    content = b'{"messages":%b}' % messages
    with pytest.raises(UNREADABLE):
        decode_chat(content)
    assert bytes(decode_document(content).messages) == messages


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        pytest.param(rb"\ud83d", rb"\ufffd", id="a high one"),
        pytest.param(rb"\uDE00", rb"\ufffd", id="a low one"),
        pytest.param(rb"\ud83d\ude00", rb"\ud83d\ude00", id="a pair"),
        pytest.param(rb"\uD83D\uDE00\ud83d\ude00", rb"\uD83D\uDE00\ud83d\ude00", id="two pairs"),
        pytest.param(rb"\ude00\ud83d", rb"\ufffd\ufffd", id="the wrong way round"),
        pytest.param(rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00", id="a high one before a pair"),
        pytest.param(rb"\ud83d\ude00\ude00", rb"\ud83d\ude00\ufffd", id="a low one behind a pair"),
        pytest.param(rb"\ud83d \ude00", rb"\ufffd \ufffd", id="halves apart"),
        pytest.param(rb"\ud83d\u0041", rb"\ufffd\u0041", id="before another escape"),
        pytest.param(rb"\\ud83d", rb"\\ud83d", id="an escaped backslash"),
        pytest.param(rb"\\ud83d\ude00", rb"\\ud83d\ufffd", id="a low one behind what only looks high"),
        pytest.param(rb"\ud83d\\ude00", rb"\ufffd\\ude00", id="a high one before what only looks low"),
        pytest.param(rb"\\\ud83d", rb"\\\ufffd", id="behind an escaped backslash"),
        pytest.param(rb"\ud83", rb"\ud83", id="cut"),
        pytest.param(rb"\ud7ff\ue000", rb"\ud7ff\ue000", id="their neighbours"),
    ],
)
def test_only_lone_surrogates_are_replaced(text: bytes, replaced: bytes) -> None:
    assert without_lone_surrogates(text) == replaced


@given(st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\\\", "\\n", "\\u0041", "ud83d", "ude00", "x"])).map("".join))
def test_what_json_takes_has_no_lone_surrogate_left(text: str) -> None:
    replaced = without_lone_surrogates(text.encode())
    assert replaced is not None
    read = json.loads(b'"' + replaced + b'"')
    assert read == json.loads(f'"{text}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert len(replaced) == len(text)
