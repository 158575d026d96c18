"""parsers/conversation: what of messages, items and parts is in the text, and where."""

from typing import Any

import msgspec
import pytest
import xxhash

from extproc.parsers.conversation import MOST_DEPTH, add_message, add_messages, add_tools
from extproc.parsers.json_document import UNREADABLE, decode_messages
from extproc.parsers.prompt_text import MEDIA, PromptText


def text_of(*messages: Any) -> bytes:
    text = PromptText()
    add_messages(text, decode_messages(msgspec.json.encode(messages)))
    return text.prompt("").text


def content_of(content: Any) -> bytes:
    return text_of({"content": content}).removeprefix(b"\xfe").removesuffix(b"\xff")


def media(data: bytes) -> bytes:
    return MEDIA + xxhash.xxh3_128_digest(data)


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param({"role": "user", "content": "hi"}, b"user\xfehi\xff", id="role and content"),
        pytest.param({"content": "hi", "role": "user"}, b"user\xfehi\xff", id="content and role"),
        pytest.param({"role": "critic", "content": "hi"}, b"critic\xfehi\xff", id="a role of its own"),
        pytest.param({"role": "user"}, b"user\xfe\xff", id="no content"),
        pytest.param({"role": "user", "content": None}, b"user\xfe\xff", id="content that is null"),
        pytest.param({"role": "user", "content": "hi", "x": 1}, b"user\xfehi\xff", id="what no model is shown"),
        pytest.param({"role": "user", "content": {"b": 1, "a": 2}}, b'user\xfe{"b":1,"a":2}\xff', id="an object"),
        pytest.param(
            {"role": "user", "name": "Ann", "content": "hi"}, b"user\xfehi\xfcname\xfeAnn\xff", id="a name, behind it"
        ),
        pytest.param(
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            b'assistant\xfe\xfctool_calls\xfec1\xfdf\xfd{"x":1}\xfd\xfd\xff',
            id="a tool call",
        ),
        pytest.param(
            {"role": "assistant", "tool_calls": [{"custom": {"input": "x", "name": "f"}}]},
            b"assistant\xfe\xfctool_calls\xfe\xfdf\xfd\xfdx\xfd\xff",
            id="a call of a tool that takes text",
        ),
        pytest.param({"role": "assistant", "tool_calls": None}, b"assistant\xfe\xff", id="tool calls that are null"),
        pytest.param({"role": "assistant", "tool_calls": []}, b"assistant\xfe\xff", id="no tool calls"),
        pytest.param(
            {"role": "tool", "tool_call_id": "c1", "content": "7"},
            b"tool\xfe7\xfctool_call_id\xfec1\xff",
            id="a tool's answer",
        ),
        pytest.param(
            {"role": "assistant", "content": "7", "reasoning_content": "3+4"},
            b"assistant\xfe7\xfcreasoning_content\xfe3+4\xff",
            id="reasoning",
        ),
        pytest.param(
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            b'assistant\xfe\xfcfunction_call\xfe{"name":"f","arguments":"{}"}\xff',
            id="a function call of old",
        ),
        pytest.param(
            {"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": "hi"},
            b"user\xfehi\xff",
            id="a message as an item",
        ),
        pytest.param(
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
            b"\xfe\xfctype\xfefunction_call\xfcname\xfef\xfccall_id\xfec1\xfcarguments\xfe{}\xff",
            id="a call as an item",
        ),
        pytest.param(
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
            b"\xfe\xfctype\xfefunction_call_output\xfccall_id\xfec1\xfcoutput\xfe7\xff",
            id="an answer as an item",
        ),
        pytest.param(
            {"type": "function_call_output", "output": [{"type": "input_text", "text": "7"}]},
            b"\xfe\xfctype\xfefunction_call_output\xfcoutput\xfe7\xff",
            id="an answer of parts",
        ),
        pytest.param(
            {"type": "custom_tool_call", "name": "f", "input": "x"},
            b"\xfe\xfctype\xfecustom_tool_call\xfcname\xfef\xfcinput\xfex\xff",
            id="a call with text as an item",
        ),
        pytest.param(
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "3+4"}]},
            b"\xfe\xfctype\xfereasoning\xfcsummary\xfe3+4\xff",
            id="reasoning as an item",
        ),
    ],
)
def test_a_message(message: dict[str, Any], text: bytes) -> None:
    assert text_of(message) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param([], b"", id="no parts"),
        pytest.param([{"type": "text", "text": "hi"}], b"hi", id="a part of text is that text"),
        pytest.param([{"text": "hi"}], b"hi", id="of no type"),
        pytest.param(
            [{"type": "input_text", "text": "hi"}, {"type": "output_text", "text": "ho"}], b"hi\xfdho", id="two"
        ),
        pytest.param(
            [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "annotations": []}],
            b"hi",
            id="what no model is shown",
        ),
        pytest.param(
            [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}],
            b"\xfcimage_url\xfe\xfcimage_url\xfe" + media(b"u"),
            id="an image",
        ),
        pytest.param(
            [{"type": "input_image", "image_url": "u"}],
            b"\xfcinput_image\xfe\xfcimage_url\xfe" + media(b"u"),
            id="an image by its address alone",
        ),
        pytest.param(
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}],
            b"\xfcimage\xfe\xfcsource\xfe" + media(b"AAAA"),
            id="an image's source",
        ),
        pytest.param(
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
            b"\xfcinput_audio\xfe\xfcinput_audio\xfe" + media(b"AAAA"),
            id="a recording",
        ),
        pytest.param([{"type": "image_url", "image_url": None}], b"\xfcimage_url\xfe", id="an image that is null"),
        pytest.param(
            [{"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}],
            b'\xfctool_use\xfe\xfcid\xfet1\xfcname\xfef\xfcinput\xfe{"x":1}',
            id="a tool's use",
        ),
        pytest.param(
            [{"type": "tool_result", "tool_use_id": "t1", "content": "7"}],
            b"\xfctool_result\xfe\xfctool_use_id\xfet1\xfccontent\xfe7",
            id="a tool's result",
        ),
        pytest.param(
            [
                {
                    "type": "tool_result",
                    "content": [{"type": "text", "text": "7"}, {"type": "image", "source": {"url": "u"}}],
                }
            ],
            b"\xfctool_result\xfe\xfccontent\xfe7\xfd\xfcimage\xfe\xfcsource\xfe" + media(b"u"),
            id="a tool's result in parts",
        ),
        pytest.param(
            [{"type": "thinking", "thinking": "3+4", "signature": "x"}],
            b"\xfcthinking\xfe\xfcthinking\xfe3+4",
            id="thinking",
        ),
        pytest.param([{"type": "odd", "text": "hi"}], b"\xfcodd\xfe\xfctext\xfehi", id="text of an odd type"),
    ],
)
def test_a_content_of_parts(content: Any, text: bytes) -> None:
    assert content_of(content) == text


def test_messages_follow_each_other() -> None:
    one, two = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    assert text_of(one, two) == text_of(one) + text_of(two)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"role": "a", "content": "bc"}, {"role": "ab", "content": "c"}, id="role and content"),
        pytest.param({"content": "a", "name": "b"}, {"content": "anameb"}, id="content and name"),
        pytest.param({"name": "a"}, {"tool_call_id": "a"}, id="name and id"),
        pytest.param({"content": ["ab"]}, {"content": ["a", "b"]}, id="one part and two"),
        pytest.param({"content": "user\u00fehi\u00ff"}, {"content": "user"}, id="marks as letters"),
    ],
)
def test_borders_cannot_be_mistaken(one: Any, other: Any) -> None:
    def with_parts(message: Any) -> Any:
        content = message.get("content")
        return message | {"content": [{"text": text} for text in content]} if isinstance(content, list) else message

    assert text_of(with_parts(one)) != text_of(with_parts(other))
    assert text_of(with_parts(one)).count(b"\xff") == text_of(with_parts(other)).count(b"\xff") == 1


@pytest.mark.parametrize(
    ("depth", "text"),
    [
        pytest.param(MOST_DEPTH - 1, b"hi", id="at the depth"),
        pytest.param(MOST_DEPTH, b'[{"text":"hi"}]', id="below it: as it is written"),
    ],
)
def test_parts_within_parts_have_a_depth(depth: int, text: bytes) -> None:
    content: Any = [{"text": "hi"}]
    for _ in range(depth):
        content = [{"content": content}]
    assert content_of(content) == b"\xfc\xfe\xfccontent\xfe" * depth + text


def test_what_stands_outside_of_the_messages() -> None:
    text = PromptText()
    add_tools(text, msgspec.Raw(b'[ {"name": "f"} ]'))
    add_message(text, "system", msgspec.Raw(b'[{"text": "be"}, {"text": "kind"}]'))
    add_message(text, "user", msgspec.Raw(b'"hi"'))
    assert text.prompt("").text == b'\xfc[{"name":"f"}]\xffsystem\xfebe\xfdkind\xffuser\xfehi\xff'


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(b"{}", id="no list"),
        pytest.param(b"[7]", id="a message that is a number"),
        pytest.param(b'[{"role":7}]', id="a role that is one"),
        pytest.param(b'[{"content":["a"]}]', id="a part that is a string"),
        pytest.param(b'[{"tool_calls":{}}]', id="tool calls that are no list"),
        pytest.param(b'[{"content":"\\u0041\xff"}]', id="no UTF-8"),
    ],
)
def test_what_cannot_be_read(messages: bytes) -> None:
    with pytest.raises(UNREADABLE):
        add_messages(PromptText(), decode_messages(messages))
