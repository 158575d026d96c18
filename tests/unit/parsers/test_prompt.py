"""parsers/prompt: which keys make a prompt, in which order, and what it counts for."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_document import LARGE_BYTES, decode_chat, decode_document
from extproc.parsers.prompt import MOST_OBJECTS, TOKEN_BYTES, prompt_of, read_prompt
from extproc.parsers.prompt_text import MEDIA_BYTES, MOST_BYTES, MOST_VALUES
from extproc.values.request import Prompt

USER = {"role": "user", "content": "hi"}
TOKENS = b"\xfctokens\xff"


def read(**members: Any) -> Prompt:
    prompt = read_prompt(json.dumps(members).encode())
    assert prompt is not None
    return prompt


@pytest.mark.parametrize(
    ("members", "text"),
    [
        pytest.param({"messages": [USER]}, b"user\xfehi\xff", id="chat"),
        pytest.param(
            {"messages": [USER], "tools": [{"name": "f"}]},
            b'\xfc[{"name":"f"}]\xffuser\xfehi\xff',
            id="chat with tools",
        ),
        pytest.param({"messages": [USER], "tools": None}, b"user\xfehi\xff", id="no tools"),
        pytest.param({"messages": [USER], "system": "be"}, b"system\xfebe\xffuser\xfehi\xff", id="a system's string"),
        pytest.param(
            {"messages": [USER], "system": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}]},
            b"system\xfebe\xffuser\xfehi\xff",
            id="a system's blocks",
        ),
        pytest.param({"messages": []}, b"", id="no messages"),
        pytest.param({"messages": [USER], "prompt": "p", "input": "i"}, b"user\xfehi\xff", id="messages before others"),
        pytest.param({"messages": None, "prompt": "p"}, b"p", id="messages that are none"),
        pytest.param({"prompt": "Once", "input": "i"}, b"Once", id="a completion"),
        pytest.param({"prompt": ""}, b"", id="an empty one"),
        pytest.param({"prompt": ["Once", "Twice"]}, b"Once", id="several: the first"),
        pytest.param({"prompt": []}, b"", id="several: none"),
        pytest.param({"prompt": [1, 258]}, TOKENS + b"\1\0\0\0\2\1\0\0", id="tokens"),
        pytest.param({"prompt": [[1, 258], [3]]}, TOKENS + b"\1\0\0\0\2\1\0\0", id="several in tokens: the first"),
        pytest.param(
            {"input": "hi", "instructions": "be", "tools": [1]},
            b"\xfc[1]\xffsystem\xfebe\xffuser\xfehi\xff",
            id="responses",
        ),
        pytest.param(
            {"input": [USER], "instructions": "be"}, b"system\xfebe\xffuser\xfehi\xff", id="responses, as items"
        ),
        pytest.param({"input": [USER], "prompt": {"id": "x"}}, b"user\xfehi\xff", id="responses by a template"),
        pytest.param({"input": ["first", "second"]}, b"first", id="embeddings: the first"),
        pytest.param({"input": [7]}, TOKENS + b"\7\0\0\0", id="embeddings of tokens"),
    ],
)
def test_the_text(members: dict[str, Any], text: bytes) -> None:
    assert read(**members).text == text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"query":"q","documents":["d"]}', id="rerank"),
        pytest.param(b'{"text_1":"a","text_2":"b"}', id="score"),
        pytest.param(b'{"messages":"hi"}', id="messages that are a string"),
        pytest.param(b'{"messages":["hi"]}', id="a message that is one"),
        pytest.param(b'{"messages":[{"role":7}]}', id="a role that is a number"),
        pytest.param(b'{"messages":[{"content":[7]}]}', id="a part that is one"),
        pytest.param(b'{"messages":[{"content":"\xff"}],"cache_salt":"\xff"}', id="no UTF-8 as salt"),
        pytest.param(b'{"messages":[{"content":"\\u0041\xff"}]}', id="no UTF-8 beside an escape"),
        pytest.param(b'{"prompt":5}', id="a number as prompt"),
        pytest.param(b'{"prompt":[-1]}', id="a token below 0"),
        pytest.param(b'{"prompt":[4294967296]}', id="a token beyond 32 bits"),
        pytest.param(b'{"prompt":[1,"a"]}', id="tokens and strings"),
        pytest.param(b'{"prompt":"x","y":NaN}', id="NaN"),
        pytest.param(b'[{"prompt":"x"}]', id="no object"),
        pytest.param(b'{"prompt":"x"', id="cut off"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="nested too deeply"),
        pytest.param(
            b'{"messages":[{"arguments":' + b"[" * 900 + b"1e999" + b"]" * 900 + b',"name":"\\u002f"}]}' + b"x",
            id="something behind it",
        ),
    ],
)
def test_no_prompt(content: bytes) -> None:
    assert read_prompt(content) is None


@pytest.mark.parametrize(
    ("content", "prompt"),
    [
        pytest.param(b'{"prompt":"a\\ud83d"}', Prompt("a\ufffd".encode(), 4), id="half an emoji"),
        pytest.param(b'{"prompt":"a","x":"\\ud83d"}', Prompt(b"a", 1), id="half an emoji elsewhere"),
        pytest.param(b'\xef\xbb\xbf{"prompt":"a"}', Prompt(b"a", 1), id="a byte order mark"),
        pytest.param(b'{"prompt":"x","prompt":"a"}', Prompt(b"a", 1), id="given twice: the last"),
        pytest.param(b'{"prompt":"a","cache_salt":"s\\u0061lt"}', Prompt(b"a", 1, "salt"), id="a salt"),
        pytest.param(b'{"prompt":"a","cache_salt":5}', Prompt(b"a", 1), id="a salt that is none"),
        pytest.param(b'{"prompt":"a","cache_salt":null}', Prompt(b"a", 1), id="no salt"),
        pytest.param(b'{"prompt":[1' + b" " * 800_000 + b",2]}", Prompt(b"\xfctokens\xff", 16), id="tokens in blanks"),
        pytest.param(b'{"prompt":[1.' + b"0" * 800_000 + b"]}", Prompt(b"\xfctokens\xff", 12), id="a token of zeros"),
    ],
)
def test_the_whole_prompt(content: bytes, prompt: Prompt) -> None:
    assert read_prompt(content) == prompt


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
LONG = "x" * MOST_BYTES


@pytest.mark.parametrize(
    ("members", "size_bytes"),
    [
        pytest.param({"prompt": "π"}, 2, id="in UTF-8, not in escapes"),
        pytest.param({"prompt": LONG + "y" * 1000}, MOST_BYTES + 1000, id="beyond the text"),
        pytest.param({"prompt": LONG + "π" * 1000}, MOST_BYTES + 6000, id="escapes where there were none"),
        pytest.param({"prompt": "π " * MOST_BYTES}, 3 * MOST_BYTES, id="escaped beyond the text as within"),
        pytest.param({"prompt": [LONG, "a" * 1000]}, MOST_BYTES + 1000 + 5, id="all of several, as written"),
        pytest.param({"prompt": ["", "aa"]}, 2 + 5, id="all of several, the first empty"),
        pytest.param({"prompt": [1] * 7}, 8 + 7 * TOKEN_BYTES, id="tokens"),
        pytest.param({"prompt": [123_456] * 200_000}, 8 + 200_000 * TOKEN_BYTES, id="more tokens than are read"),
        pytest.param({"prompt": [[1], [2, 3]]}, 8 + 3 * TOKEN_BYTES, id="all of several in tokens"),
        pytest.param({"messages": [{"content": [IMAGE]}]}, 41 + MEDIA_BYTES, id="an image"),
        pytest.param({"messages": [{"content": LONG}, USER]}, MOST_BYTES + 2 + 8, id="a message behind the text"),
        pytest.param(
            {"messages": [{"content": LONG}, {"content": [IMAGE]}]},
            MOST_BYTES + 2 + 24 + MEDIA_BYTES,
            id="an image behind the text",
        ),
        pytest.param(
            {"messages": [{"content": LONG}, {"arguments": {"a": 1}}]},
            MOST_BYTES + 2 + 13 + len('{"a": 1}'),
            id="a value behind the text",
        ),
    ],
)
def test_the_size_is_of_all_of_it(members: dict[str, Any], size_bytes: int) -> None:
    prompt = read(**members)
    assert prompt.size_bytes == size_bytes
    assert len(prompt.text) <= MOST_BYTES


@pytest.mark.parametrize(
    ("members", "beginning"),
    [
        pytest.param({"prompt": LONG + "y"}, LONG.encode(), id="a string"),
        pytest.param({"prompt": "π " * MOST_BYTES}, ("π " * MOST_BYTES).encode()[:MOST_BYTES], id="one in escapes"),
        pytest.param(
            {"prompt": "π" * 2 * MOST_BYTES}, ("π" * MOST_BYTES).encode()[:MOST_BYTES], id="one without a blank"
        ),
        pytest.param({"prompt": "\n" + "x" * 7 * MOST_BYTES}, b"\n" + LONG[1:].encode(), id="one with an escape"),
        pytest.param({"prompt": [1] * 200_000}, (TOKENS + b"\1\0\0\0" * 70_000)[:MOST_BYTES], id="tokens"),
        pytest.param({"messages": [{"content": LONG}]}, b"\xfe" + LONG[1:].encode(), id="a message"),
        pytest.param({"messages": [{"output": [LONG]}]}, None, id="a part that is none"),
        pytest.param({"messages": [], "tools": [LONG]}, b'\xfc["' + LONG[3:].encode(), id="tools, as they are written"),
    ],
)
def test_a_long_text_is_cut(members: dict[str, Any], beginning: bytes | None) -> None:
    prompt = read_prompt(json.dumps(members).encode())
    assert ((prompt and prompt.text) == beginning) is True


@pytest.mark.parametrize(
    ("members", "most"),
    [
        pytest.param(lambda count: {"messages": [{}] * count}, MOST_VALUES, id="messages"),
        pytest.param(lambda count: {"messages": [{"content": [{}] * (count - 1)}]}, MOST_VALUES, id="parts"),
        pytest.param(lambda count: {"messages": [{"tool_calls": [{}] * (count - 1)}]}, MOST_VALUES, id="tool calls"),
        pytest.param(
            lambda count: {"messages": [], "x": [LONG] + [{}] * (count - 2)}, MOST_OBJECTS, id="objects of a large body"
        ),
    ],
)
def test_a_conversation_of_too_many_pieces_is_taken_as_written(members: Any, most: int) -> None:
    def is_as_written(count: int) -> bool:
        return read(**members(count)).text.startswith(b"[")

    assert (is_as_written(most), is_as_written(most + 1)) == (False, True)


def test_one_taken_as_written_grows_too() -> None:
    messages = [{"content": str(number)} for number in range(MOST_VALUES + 1)]
    text = read(messages=messages).text
    assert read(messages=[*messages, USER]).text.startswith(text)


def test_a_small_body_is_not_searched_for_objects() -> None:
    """60 ns for each: it would be most of the work on one that holds code."""
    content = json.dumps({"messages": [USER], "x": [{}] * (MOST_OBJECTS + 1)}, separators=(",", ":")).encode()
    assert len(content) < LARGE_BYTES
    assert read_prompt(content) == Prompt(b"user\xfehi\xff", 8)


texts = st.text(max_size=8) | st.sampled_from(["", "\x00", "\xff", '"', "\\", "/", "😀", "user", "\\u0041"])
any_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
images = texts.map(lambda url: {"type": "image_url", "image_url": {"url": url}})
parts = texts.map(lambda text: {"type": "text", "text": text}) | images
calls = st.builds(
    lambda name, arguments: {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}},
    texts,
    texts,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]) | texts, "content": texts | st.lists(parts, max_size=3)},
    optional={"name": texts, "tool_call_id": texts, "tool_calls": st.lists(calls, max_size=2)},
)
conversations = st.lists(messages, max_size=4)
heads = st.fixed_dictionaries({}, optional={"tools": st.lists(any_values, max_size=2), "system": texts})


@given(head=heads, before=conversations, more=conversations, key=st.sampled_from(["messages", "input"]))
def test_a_conversation_that_grows_keeps_its_beginning(head: Any, before: Any, more: Any, key: str) -> None:
    if key == "input" and not before:
        return
    first, then = read(**head, **{key: before}), read(**{key: before + more}, **head)
    assert then.text.startswith(first.text)
    assert then.size_bytes - first.size_bytes >= len(then.text) - len(first.text)


def shown(message: dict[str, Any]) -> Any:
    """What a model is shown of a message: a single part of text is that text, and an empty one is nothing."""
    content = message["content"]
    parts = [("text", content)] if isinstance(content, str) else [tuple(part.values()) for part in content]
    return message | {"content": [] if parts == [("text", "")] else parts, "tool_calls": message.get("tool_calls", [])}


@given(one=conversations, other=conversations)
def test_texts_are_equal_of_equal_conversations_alone(one: Any, other: Any) -> None:
    are_equal = [*map(shown, one)] == [*map(shown, other)]
    assert (read(messages=one).text == read(messages=other).text) == are_equal


def respelled(value: Any, draw: st.DrawFn) -> str:
    """The same value as JSON of other blanks and escapes, and the keys of its objects in another order."""
    blank = draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        items = draw(st.permutations(list(value.items())))
        members = [f"{blank}{respelled(key, draw)}:{blank}{respelled(item, draw)}" for key, item in items]
        return "{" + ",".join(members) + blank + "}"
    if isinstance(value, list):
        return "[" + ",".join(blank + respelled(item, draw) + blank for item in value) + "]"
    if isinstance(value, str):
        if draw(st.booleans()):
            return json.dumps(value)
        written = json.dumps(value, ensure_ascii=False)
        return written.replace("/", "\\/").replace("s", "\\u0073") if draw(st.booleans()) else written
    return json.dumps(value)


@given(conversation=conversations, data=st.data())
def test_the_spelling_does_not_matter(conversation: Any, data: st.DataObject) -> None:
    again = data.draw(st.composite(lambda draw: respelled({"messages": conversation}, draw))())
    assert read_prompt(again.encode()) == read(messages=conversation)


@given(
    tools=st.lists(any_values, min_size=1, max_size=3), indent=st.none() | st.integers(0, 3), ascii_only=st.booleans()
)
def test_nor_does_that_of_tools(tools: Any, indent: int | None, ascii_only: bool) -> None:
    written = json.dumps({"messages": [USER], "tools": tools}, indent=indent, ensure_ascii=ascii_only)
    prompt = read_prompt(written.encode())
    assert prompt is not None
    listed = prompt.text.removeprefix(b"\xfc").removesuffix(b"\xffuser\xfehi\xff")
    assert json.loads(listed) == tools
    assert b"\n" not in listed


@given(st.binary(max_size=60).map(lambda data: b'{"prompt":' + data) | st.binary(max_size=60))
def test_any_bytes_give_a_prompt_or_none(content: bytes) -> None:
    assert isinstance(read_prompt(content), Prompt | None)


keys = st.sampled_from(["messages", "prompt", "input", "tools", "system", "instructions", "cache_salt"])
inner_keys = st.sampled_from(
    ["role", "content", "type", "text", "tool_calls", "function", "image_url", "source", "url", "data", "output", "x"]
)
shapes: st.SearchStrategy[Any] = st.recursive(
    any_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(inner_keys, inner, max_size=4), max_leaves=9
)


@given(st.dictionaries(keys, shapes, max_size=4))
def test_any_document_gives_a_prompt_or_none(document: Any) -> None:
    prompt = read_prompt(json.dumps(document).encode())
    assert prompt is None or prompt.size_bytes >= len(prompt.text) >= 0


@pytest.mark.parametrize(
    ("head", "repeated", "tail"),
    [
        pytest.param(b'{"messages":[', b"{},", b"{}]}", id="messages"),
        pytest.param(b'{"messages":[{"content":[', b"{},", b"{}]}]}", id="parts"),
        pytest.param(b'{"messages":[{"content":[', b"[],", b"[]]}]}", id="brackets"),
        pytest.param(b'{"messages":[{"arguments":[', b"[],", b"[]]}]}", id="a large value"),
        pytest.param(b'{"messages":[', b'{"arguments":[[],[]]},', b"{}]}", id="small values"),
        pytest.param(b'{"messages":[{"content":"', b"\\u4e2d ", b'"}]}', id="escapes"),
        pytest.param(b'{"messages":[{"content":"', b"\\\\", b'"}]}', id="backslashes"),
        pytest.param(b'{"messages":[{"content":[', b'{"image":""},', b"{}]}]}", id="images"),
        pytest.param(b'{"prompt":[', b"1,", b"1]}", id="tokens"),
        pytest.param(b'{"prompt":[', b'"a",', b'"a"]}', id="prompts"),
        pytest.param(b'{"tools":[', b"[],", b'[]],"messages":[]}', id="tools"),
    ],
)
def test_time_grows_with_the_bytes_alone(head: bytes, repeated: bytes, tail: bytes) -> None:
    content = head + repeated * ((4 << 20) // len(repeated)) + tail
    began_s = time.process_time()
    read_prompt(content)
    assert time.process_time() - began_s < 0.5


def test_what_is_nested_is_not_read_once_a_level() -> None:
    """At 330 levels it was read 330 times."""
    nested = b'[{"type":"x","content":' * 330 + b'"' + b"A" * (4 << 20) + b'"' + b"}]" * 330
    began_s = time.process_time()
    assert read_prompt(b'{"messages":[{"content":' + nested + b"}]}") is not None
    assert time.process_time() - began_s < 0.2


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"messages": [{"role": "user", "content": "hi"}]}, id="a message"),
        pytest.param({"messages": []}, id="no message"),
        pytest.param({"messages": None, "prompt": "hi"}, id="null, and a prompt"),
        pytest.param({"messages": None, "input": [{"role": "user", "content": "hi"}]}, id="null, and items"),
        pytest.param({"messages": [{"content": "hi"}], "prompt": "other"}, id="messages before a prompt"),
        pytest.param({"messages": [{"content": "hi"}], "system": "be", "tools": [{"a": 1}]}, id="what stands before"),
        pytest.param({"messages": [{"content": [{"text": "hi"}]}], "cache_salt": "s"}, id="a salt"),
        pytest.param({"messages": [{"content": "hi"}] * (MOST_VALUES + 1)}, id="too many to read: as it is written"),
        pytest.param({"messages": [{"content": [{"content": {}}]}]}, id="a part that cannot be read"),
        pytest.param({"input": [1, 2, 3]}, id="tokens"),
        pytest.param({"model": "m"}, id="nothing"),
    ],
)
def test_the_prompt_is_the_same_whether_or_not_messages_were_read_in_one_pass(members: dict[str, Any]) -> None:
    content = json.dumps(members).encode()
    assert prompt_of(decode_chat(content), content) == prompt_of(decode_document(content), content)
