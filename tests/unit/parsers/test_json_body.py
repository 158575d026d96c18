"""parsers/json_body: the model of a JSON body, as engines that read with Python's json find it."""

import json
import resource
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_body import SECOND_LOOK_BYTES, SMALL_BYTES, SPARSE_BYTES, model_of_json, read_json
from extproc.parsers.json_document import LARGE_BYTES, MOST_LONE_SURROGATES, Chat, decode_chat, decode_document
from extproc.parsers.prompt import prompt_of
from extproc.values.refusal import Reason, Reject

NOT_OBJECT = Reject(Reason.BODY_NOT_OBJECT)
MISSING = Reject(Reason.MODEL_MISSING)
NOT_STRING = Reject(Reason.MODEL_NOT_STRING)


@pytest.mark.parametrize(
    ("content", "model"),
    [
        pytest.param(b'{"model":"phi"}', "phi", id="plain"),
        pytest.param(b' \t\r\n{ "model" : "phi" }\n', "phi", id="white space"),
        pytest.param(b'{"messages":[{"model":"x"}],"model":"phi"}', "phi", id="last, after a nested one"),
        pytest.param(b'{"model":"gemma","model":"phi"}', "phi", id="given twice: the last"),
        pytest.param(b'{"m\\u006fdel":"ph\\u0069"}', "phi", id="escaped"),
        pytest.param('{"model":"π"}'.encode(), "π", id="UTF-8"),
        pytest.param(b'{"model":""}', "", id="empty"),
        pytest.param(b'{"model":"phi","x":"\\ud83d"}', "phi", id="half an emoji elsewhere"),
        pytest.param(b'{"model":"phi\\ud83d"}', "phi\ud83d", id="half an emoji in it"),
        pytest.param(b'{"model":"phi","x":NaN}', "phi", id="NaN"),
        pytest.param(b'{"model":"phi","x":-Infinity}', "phi", id="Infinity"),
        pytest.param(b'{"model":"phi","x":1e999}', "phi", id="a number beyond floats"),
        pytest.param(b'\xef\xbb\xbf{"model":"phi"}', "phi", id="a byte order mark"),
        pytest.param('{"model":"phi"}'.encode("utf-16"), "phi", id="UTF-16"),
        pytest.param(b"{}", MISSING, id="no model"),
        pytest.param(b'{"Model":"phi"}', MISSING, id="another case"),
        pytest.param(b'{"x":{"model":"phi"}}', MISSING, id="a nested one alone"),
        pytest.param(b'{"x":NaN}', MISSING, id="NaN and no model"),
        pytest.param(b'{"model":null}', NOT_STRING, id="null"),
        pytest.param(b'{"model":5}', NOT_STRING, id="a number"),
        pytest.param(b'{"model":1e999}', NOT_STRING, id="a number beyond floats as model"),
        pytest.param(b'{"model":["phi"]}', NOT_STRING, id="an array"),
        pytest.param(b'{"model":{"model":"phi"}}', NOT_STRING, id="an object"),
        pytest.param(b'{"model":NaN}', NOT_STRING, id="NaN as model"),
        pytest.param(b'[{"model":"phi"}]', NOT_OBJECT, id="an array of objects"),
        pytest.param(b'"model"', NOT_OBJECT, id="a string"),
        pytest.param(b"null", NOT_OBJECT, id="null alone"),
        pytest.param(b"NaN", NOT_OBJECT, id="NaN alone"),
        pytest.param(b"", NOT_OBJECT, id="nothing"),
        pytest.param(b" ", NOT_OBJECT, id="a blank"),
        pytest.param(b'{"model":"phi"', NOT_OBJECT, id="cut off"),
        pytest.param(b'{"model":"phi"}}', NOT_OBJECT, id="a brace too many"),
        pytest.param(b'{"model":"phi",}', NOT_OBJECT, id="a comma too many"),
        pytest.param(b"{'model':'phi'}", NOT_OBJECT, id="single quotes"),
        pytest.param(b'{"model":"p\nhi"}', NOT_OBJECT, id="a raw line break in a string"),
        pytest.param(b'{"model":"\xff"}', NOT_OBJECT, id="no UTF-8"),
        pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", NOT_OBJECT, id="nested too deeply"),
        pytest.param(b"[" * 100_000, NOT_OBJECT, id="opened too often"),
    ],
)
def test_model_of_json(content: bytes, model: str | Reject) -> None:
    assert model_of_json(content) == model


@pytest.mark.parametrize(
    ("size_bytes", "model"),
    [
        pytest.param(SECOND_LOOK_BYTES, "phi", id="at it"),
        pytest.param(SECOND_LOOK_BYTES + 1, NOT_OBJECT, id="above it"),
    ],
)
def test_the_lenient_look_has_a_limit(size_bytes: int, model: str | Reject) -> None:
    head = b'{"model":"phi","x":NaN,"y":"'
    assert model_of_json(head + b"x" * (size_bytes - len(head) - 2) + b'"}') == model


def test_the_strict_look_has_none() -> None:
    assert model_of_json(b'{"x":"' + b"x" * (4 * SECOND_LOOK_BYTES) + b'","model":"phi"}') == "phi"


texts = st.text() | st.sampled_from(["model", "mode", "\ud83d", "\x00"])
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def as_engines_read(content: bytes) -> str | Reject:
    document = json.loads(content)
    if not isinstance(document, dict):
        return NOT_OBJECT
    if "model" not in document:
        return MISSING
    return document["model"] if isinstance(document["model"], str) else NOT_STRING


@given(
    document=documents,
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 3),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"]),
)
def test_agrees_with_json_on_what_it_writes(document: Any, ascii_only: bool, indent: int | None, codec: str) -> None:
    content = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(codec, "surrogatepass")
    assert model_of_json(content) == as_engines_read(content)


tokens = ["{", "}", "[", "]", '"model"', ":", ",", '"phi"', "1", "-0", "1e999", "NaN", "null", '"\\ud83d"', " ", "\n"]


@given(st.lists(st.sampled_from(tokens), max_size=9).map("".join) | st.text())
def test_agrees_with_json_on_whatever_it_takes(text: str) -> None:
    content = f'{{"model":{text}}}'.encode(errors="surrogatepass")
    try:
        expected = as_engines_read(content)
    except ValueError:
        return
    assert model_of_json(content) == expected


@given(st.binary())
def test_any_bytes_give_a_name_or_a_refusal(content: bytes) -> None:
    assert isinstance(model_of_json(content), str | Reject)


def test_a_large_body_with_half_an_emoji_is_read_too() -> None:
    """Beyond the size up to which `json` is asked: an image beside a text that was cut."""
    content = b'{"messages": "half \\ud83d", "image": "' + b"A" * (SECOND_LOOK_BYTES + 1) + b'", "model": "phi"}'
    assert model_of_json(content) == "phi"


def test_a_large_body_has_paired_emojis_without_number_and_keeps_them() -> None:
    """A chat of 20 MB as `json.dumps` writes it, with one half among 500,000, and JSON within it."""
    text = "😀" * 500_000 + json.dumps("😀") * 500_000 + "\ud83d"
    content = json.dumps({"messages": [{"content": text}], "model": "phi 😀"}).encode()
    assert model_of_json(content) == "phi 😀"


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc00"], ids=["high", "low"])
def test_lone_surrogates_have_a_limit(escape: bytes) -> None:
    at_it = b'{"model":"phi","x":"' + escape * MOST_LONE_SURROGATES
    assert model_of_json(at_it + b'"}') == "phi"
    assert model_of_json(at_it + escape + b'"}') == NOT_OBJECT


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udc00"], ids=["high", "low"])
def test_a_body_full_of_lone_surrogates_takes_little(escape: bytes) -> None:
    """As gzip they are 60 kB. All told it took 1.7 s and 900 MB to replace them."""
    content = b'{"model":"phi","x":"%b"}' % (escape * 10_000_000)
    before, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert model_of_json(content) == NOT_OBJECT
    assert time.process_time() - began_s < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_a_model_that_is_no_string_is_not_built() -> None:
    """Ten million lists would be a gigabyte: it is enough to see that it begins with a bracket."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = b'{"model": [' + b"[]," * 10_000_000 + b"[]]}"
    assert model_of_json(content) == Reject(Reason.MODEL_NOT_STRING)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


HALF = b'"x":"\\ud83d"'
FILLED = b',"y":"' + b"x" * SECOND_LOOK_BYTES + b'"'


@pytest.mark.parametrize(
    ("content", "model", "prompt"),
    [
        pytest.param(b'{"model":"phi","prompt":"a"}', "phi", b'"a"', id="plain"),
        pytest.param(b'{"model":"phi"}', "phi", b"", id="without a prompt"),
        pytest.param(b'{"prompt":"a"}', MISSING, b'"a"', id="without a model"),
        pytest.param(b'{"model":"phi","prompt":"a",' + HALF + b"}", "phi", b'"a"', id="half an emoji"),
        pytest.param(b'{"model":"phi\\ud83d","prompt":"a"}', "phi\ud83d", b'"a"', id="half an emoji in the model"),
        pytest.param(b'{"model":"phi","prompt":"a",' + HALF + FILLED + b"}", "phi", b'"a"', id="one in a large body"),
        pytest.param(b'\xef\xbb\xbf{"model":"phi","prompt":"a"}', "phi", b'"a"', id="a byte order mark"),
        pytest.param(
            b'\xef\xbb\xbf{"model":"phi","prompt":"a"' + FILLED + b"}", "phi", b'"a"', id="one before a large body"
        ),
        pytest.param(b'{"model":"phi","x":NaN}', "phi", None, id="NaN"),
        pytest.param(b'{"model":"phi","x":NaN' + FILLED + b"}", NOT_OBJECT, None, id="NaN in a large body"),
        pytest.param('{"model":"phi"}'.encode("utf-16"), "phi", None, id="UTF-16"),
        pytest.param(b"nothing", NOT_OBJECT, None, id="no JSON"),
    ],
)
def test_the_document_beside_the_model(content: bytes, model: str | Reject, prompt: bytes | None) -> None:
    found, document = read_json(content)
    assert found == model
    assert (document and bytes(document.prompt)) == prompt


@pytest.mark.parametrize(
    ("size_bytes", "braces", "are_built"),
    [
        pytest.param(SMALL_BYTES, SMALL_BYTES // SPARSE_BYTES, True, id="many in a small body"),
        pytest.param(SMALL_BYTES + 1, SMALL_BYTES // SPARSE_BYTES - 1, True, id="few in a larger one"),
        pytest.param(SMALL_BYTES + 1, SMALL_BYTES // SPARSE_BYTES, False, id="many in a larger one"),
        pytest.param(LARGE_BYTES, LARGE_BYTES // SPARSE_BYTES - 1, True, id="few in one that is almost large"),
        pytest.param(LARGE_BYTES + 1, LARGE_BYTES // SPARSE_BYTES - 1, False, id="few in a large one"),
    ],
)
def test_messages_are_built_beside_the_model_where_they_are_few(size_bytes: int, braces: int, are_built: bool) -> None:
    """Of 256 KiB of `{}` they took 16 ms before anything had asked for them."""
    messages = b",".join([b'{"content":"a"}'] * (braces - 2))
    content = b'{"model":"phi","messages":[{"content":"%b"},' + messages + b"]}"
    content = content.replace(b"%b", b"x" * (size_bytes - len(content) + 2))
    assert (len(content), content.count(b"{")) == (size_bytes, braces)
    model, document = read_json(content)
    assert document is not None
    assert (model, isinstance(document, Chat)) == ("phi", are_built)
    prompt = prompt_of(document, content)
    assert prompt is not None
    assert prompt == prompt_of(decode_chat(content), content) == prompt_of(decode_document(content), content)
