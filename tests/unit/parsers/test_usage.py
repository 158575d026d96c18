"""parsers/usage: token usage of a stream, however its bytes are cut."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.usage import MOST_EVENT_BYTES, Usage, UsageReader

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
DONE = b"data: [DONE]\n\n"


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def usage_event(**usage: Any) -> bytes:
    return event({"choices": [], "usage": usage})


def read(*chunks: bytes) -> UsageReader:
    reader = UsageReader()
    for chunk in chunks:
        reader.take(chunk)
    return reader


ANTHROPIC = (
    event({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}})
    + event({"type": "content_block_delta", "delta": {"text": "a"}})
    + event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}})
    + event({"type": "message_stop"})
)
ANTHROPIC_CACHED = event(
    {"message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}}}
) + event({"usage": {"output_tokens": 7}})
RESPONSES = (
    event({"type": "response.created", "response": {"usage": None}})
    + event({"type": "response.output_text.delta", "delta": "a"})
    + event(
        {
            "type": "response.completed",
            "response": {
                "usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 7}
            },
        }
    )
)


@pytest.mark.parametrize(
    ("stream", "usage"),
    [
        pytest.param(TOKEN + COUNTED + DONE, Usage(5, 7), id="OpenAI"),
        pytest.param(
            usage_event(prompt_tokens=5, completion_tokens=7, prompt_tokens_details={"cached_tokens": 3}),
            Usage(5, 7, 3),
            id="OpenAI, part of the prompt cached",
        ),
        pytest.param(
            usage_event(prompt_tokens=5, completion_tokens=7, prompt_tokens_details=None), Usage(5, 7), id="no details"
        ),
        pytest.param(usage_event(prompt_tokens=5, total_tokens=5), Usage(5, 0), id="no completion"),
        pytest.param(
            usage_event(prompt_tokens=5, completion_tokens=1) + usage_event(prompt_tokens=5, completion_tokens=2),
            Usage(5, 2),
            id="on each event: the last",
        ),
        pytest.param(COUNTED + event({"usage": None}), Usage(5, 7), id="null afterwards"),
        pytest.param(ANTHROPIC, Usage(5, 7), id="Anthropic"),
        pytest.param(ANTHROPIC_CACHED, Usage(10, 7, 3), id="Anthropic, part of the prompt cached"),
        pytest.param(RESPONSES, Usage(5, 7, 3), id="Responses"),
        pytest.param(event({"usage": {"prompt_tokens": 5}, "message": "x"}), Usage(5), id="beside a message"),
        pytest.param(event({"message": "x", "response": {"usage": {"input_tokens": 5}}}), Usage(5), id="after one"),
        pytest.param(TOKEN + DONE, None, id="none"),
        pytest.param(event({"usage": None}), None, id="null"),
        pytest.param(event({"usage": {}}), None, id="empty"),
        pytest.param(event({"usage": {"seconds": 1}}), None, id="of another kind"),
        pytest.param(event({"usage": "much"}), None, id="a string"),
        pytest.param(event({"usage": {"prompt_tokens": "5"}}), None, id="a count that is a string"),
        pytest.param(event({"usage": {"prompt_tokens": -5}}), None, id="a count below zero"),
        pytest.param(event({"usage": {"prompt_tokens": 10**30}}), None, id="a count beyond counters"),
        pytest.param(event({"x": {"usage": {"prompt_tokens": 5}}}), None, id="elsewhere"),
        pytest.param(event({"text": '"usage":{"prompt_tokens":5}'}), None, id="in a text"),
        pytest.param(event([{"usage": {"prompt_tokens": 5}}]), None, id="in an array"),
        pytest.param(b'data: "usage"\n\n', None, id="alone"),
        pytest.param(b'data: {"usage":{"prompt_tokens":5}\n\n', None, id="in JSON that is cut"),
        pytest.param(b'data: {"usage":' + b"[" * 60_000 + b"\n\n", None, id="nested too deeply"),
        pytest.param(COUNTED + b'data: {"usage":\xff}\n\n', Usage(5, 7), id="no UTF-8 afterwards"),
        pytest.param(b": " + COUNTED.strip() + b"\n\n", None, id="in a comment"),
        pytest.param(COUNTED.replace(b"data", b"date"), None, id="in another field"),
        pytest.param(COUNTED.strip(), None, id="an event that has not ended"),
        pytest.param(
            COUNTED[:-1] + b"data:" + b"x" * MOST_EVENT_BYTES + b"\n\n", None, id="in an event that goes on too long"
        ),
    ],
)
def test_usage(stream: bytes, usage: Usage | None) -> None:
    assert read(stream).usage == usage


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(COUNTED.replace(b"\n", b"\r\n"), id="CR LF"),
        pytest.param(COUNTED.replace(b"\n", b"\r"), id="CR"),
        pytest.param(COUNTED.replace(b"data: ", b"data:"), id="no blank"),
        pytest.param(b": ping\n\n" + COUNTED, id="after a comment"),
        pytest.param(b": ping\n" + COUNTED, id="with a comment in the event"),
        pytest.param(b"event: x\nid: 1\nretry: 5\n" + COUNTED, id="with other fields"),
        pytest.param(COUNTED.replace(b"[],", b"[],\ndata: "), id="over two lines"),
        pytest.param(COUNTED.replace(b"[],", b"[],\r: x\r\ndata:"), id="over two lines, with a comment between"),
        pytest.param(b"data: " + b"x" * MOST_EVENT_BYTES + b"\n\n" + COUNTED, id="after a line too long"),
        pytest.param(b"data: x\n" * MOST_EVENT_BYTES + b"\n" + COUNTED, id="after an event too long"),
        pytest.param(b": " + b"x" * MOST_EVENT_BYTES + b"\n" + COUNTED, id="with a comment too long"),
        pytest.param(COUNTED.replace(b"[]", b'"%b"' % (b"x" * (MOST_EVENT_BYTES - 96))), id="as long as it may be"),
    ],
)
@pytest.mark.parametrize("size_bytes", [1, 2, 7, 1 << 20])
def test_lines_and_events(stream: bytes, size_bytes: int) -> None:
    reader = read(*(stream[at : at + size_bytes] for at in range(0, len(stream), size_bytes)))
    assert (reader.usage, reader.has_token) == (Usage(5, 7), True)


TAIL = b'{"usage":{"prompt_tokens":5}} '


@pytest.mark.parametrize(
    ("begun", "over_bytes", "usage"),
    [
        pytest.param(b"data:", 0, Usage(5), id="at the limit"),
        pytest.param(b"data:", 1, None, id="a byte above it"),
        pytest.param(b"data: \ndata:", 0, Usage(5), id="two lines at it"),
        pytest.param(b"data: \ndata:", 1, None, id="two lines a byte above it"),
    ],
)
@pytest.mark.parametrize("size_bytes", [1000, 1 << 20])
def test_a_long_event_is_dropped(begun: bytes, over_bytes: int, usage: Usage | None, size_bytes: int) -> None:
    blanks = MOST_EVENT_BYTES + over_bytes - len(begun.replace(b"\n", b"")) - len(TAIL)
    stream = begun + b" " * blanks + TAIL + b"\n\n"
    reader = read(*(stream[at : at + size_bytes] for at in range(0, len(stream), size_bytes)))
    assert (reader.usage, reader.has_token) == (usage, True)


@pytest.mark.parametrize(
    ("stream", "has_token"),
    [
        pytest.param(TOKEN, True, id="an event"),
        pytest.param(b": ping\n\n" + TOKEN, True, id="an event after a comment"),
        pytest.param(DONE + TOKEN, True, id="an event after DONE"),
        pytest.param(b"data: hello\n\n", True, id="an event that is no JSON"),
        pytest.param(TOKEN[:-1], False, id="an event that has not ended"),
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"\n\n\r\n", False, id="blank lines"),
        pytest.param(b": ping\n\n", False, id="a comment"),
        pytest.param(b"event: ping\n\n", False, id="an event without data"),
        pytest.param(DONE, False, id="DONE"),
        pytest.param(b"data:[DONE]\r\n\r\n", False, id="DONE, written otherwise"),
    ],
)
def test_has_token(stream: bytes, has_token: bool) -> None:
    assert read(stream).has_token is has_token


pieces = st.sampled_from(
    [
        *(TOKEN, COUNTED, DONE, ANTHROPIC, RESPONSES, usage_event(prompt_tokens=9, completion_tokens=9)),
        *(b"\n", b"\r", b"\r\n", b"data:", b"data", b": x", b"event: x", b'{"usage":{"prompt_tokens":1}}', b" "),
        b"x" * MOST_EVENT_BYTES,
    ]
)


@given(stream=st.lists(pieces | st.binary(max_size=9), max_size=9).map(b"".join), data=st.data())
def test_the_same_however_it_is_cut(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    once, cut = read(stream), read(*chunks)
    assert (cut.usage, cut.has_token) == (once.usage, once.has_token)


@given(stream=st.lists(pieces, max_size=5).map(b"".join).filter(lambda stream: len(stream) < 2000))
def test_the_same_byte_by_byte(stream: bytes) -> None:
    once, cut = read(stream), read(*(bytes([byte]) for byte in stream))
    assert (cut.usage, cut.has_token) == (once.usage, once.has_token)


@pytest.mark.parametrize("repeated", [b"x" * 1000, b"data: " + b"x" * 1000 + b"\n", b"data:\n", b"data:x\n\n", b"\r"])
def test_what_is_kept_does_not_grow(repeated: bytes) -> None:
    reader = UsageReader()
    for _ in range((4 << 20) // len(repeated) // 10):
        reader.take(repeated * 10)
    kept = sum(sys.getsizeof(value) for value in vars(reader).values())
    assert kept + sum(map(sys.getsizeof, reader._data)) < 10 * MOST_EVENT_BYTES
