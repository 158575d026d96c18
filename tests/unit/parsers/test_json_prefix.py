"""parsers/json_prefix: the model of a JSON body that breaks off, found where it stands whole and nowhere else."""

import json
import resource
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_body import SECOND_LOOK_BYTES, model_of_json
from extproc.parsers.json_document import MOST_LONE_SURROGATES
from extproc.parsers.json_models import MOST_MODEL_KEYS
from extproc.parsers.json_prefix import model_of_json_prefix
from extproc.values.refusal import Reason, Reject

NOT_OBJECT = Reject(Reason.BODY_NOT_OBJECT)
MISSING = Reject(Reason.MODEL_MISSING)
NOT_STRING = Reject(Reason.MODEL_NOT_STRING)
BEYOND = Reject(Reason.MODEL_BEYOND_BUFFER)


@pytest.mark.parametrize(
    ("content", "model"),
    [
        pytest.param(b'{"model":"phi"', "phi", id="cut behind it"),
        pytest.param(b'{"model":"phi","messages":[{"role":"us', "phi", id="cut in a string"),
        pytest.param(b'{"model":"phi","x":"\\', "phi", id="cut in an escape"),
        pytest.param(b'{"model":"phi","x":"\\ud8', "phi", id="cut in an escaped number"),
        pytest.param(b'{"model":"phi","x":"\\ud83d\\', "phi", id="cut in an escaped pair"),
        pytest.param('{"model":"phi","x":"π'.encode()[:-1], "phi", id="cut in a character"),
        pytest.param(b'{"model":"phi","x":-', "phi", id="cut behind a sign"),
        pytest.param(b'{"model":"phi","x":1.', "phi", id="cut behind a decimal point"),
        pytest.param(b'{"model":"phi","x":1e+', "phi", id="cut in an exponent"),
        pytest.param(b'{"model":"phi","x":nul', "phi", id="cut in null"),
        pytest.param(b'{"model":"phi","x":-Infi', "phi", id="cut in Infinity"),
        pytest.param(b'{"model":"phi","mod', "phi", id="cut in a key"),
        pytest.param(b'{"model":"phi","x":NaN,"y":-Infinity,"z":[', "phi", id="NaN and Infinity before the cut"),
        pytest.param(b'{"x":"\\ud83d","model":"phi","y":', "phi", id="half an emoji before it"),
        pytest.param(b'{"model":"phi\\ud83d","y":', "phi\ud83d", id="half an emoji in it"),
        pytest.param(b'{"model":"\\ud83d\\ude00","y":', "😀", id="an escaped emoji in it"),
        pytest.param(b'{"m\\u006fdel":"ph\\u0069","y":', "phi", id="escaped"),
        pytest.param(b'{"\\u006d\\u006F\\u0064\\u0065\\u006C":"phi","y":', "phi", id="every letter escaped"),
        pytest.param(b'{"model":"a\\"b\\\\","y":', 'a"b\\', id="a quote and a backslash in it"),
        pytest.param('{"model":"π","y":'.encode(), "π", id="UTF-8"),
        pytest.param(b'{"model":"NaN","y":', "NaN", id="NaN is its name"),
        pytest.param(b'{"model":"","y":', "", id="empty"),
        pytest.param(b' \t\r\n{ "model" :\n"phi" ,', "phi", id="white space"),
        pytest.param(b'\xef\xbb\xbf{"model":"phi",', "phi", id="a byte order mark"),
        pytest.param(b'{"metadata":{"model":"x"},"model":"phi",', "phi", id="after a nested one"),
        pytest.param(b'{"model":"phi","messages":[{"model":"x"},', "phi", id="before a nested one"),
        pytest.param(b'{"x":"\\"model\\":\\"y\\"","model":"phi",', "phi", id="after one in a text"),
        pytest.param(b'{"x\\"model":"y","model":"phi",', "phi", id="after a key that ends like it"),
        pytest.param(b'{"x":"model","model":"phi",', "phi", id="after a value that is called so"),
        pytest.param(b'{"model":"gemma","model":"phi",', "phi", id="given twice: the last"),
        pytest.param(b'{"model":7,"model":"phi",', "phi", id="given twice: first a number"),
        pytest.param(b'{"model":"phi","model":7,', NOT_STRING, id="given twice: last a number"),
        pytest.param(b'{"model":"gemma","model":"ph', BEYOND, id="given twice, the last one cut"),
        pytest.param(b'{"model":"gemma","model":', BEYOND, id="given twice, the last one not there"),
        pytest.param(b'{"model":"phi', BEYOND, id="a string cut"),
        pytest.param(b'{"model":"phi\\"', BEYOND, id="a string cut behind an escaped quote"),
        pytest.param(b'{"model":', BEYOND, id="no value yet"),
        pytest.param(b'{"model"', BEYOND, id="no colon yet"),
        pytest.param(b'{"model', BEYOND, id="a key cut"),
        pytest.param(b'{"Model":"phi",', BEYOND, id="another case"),
        pytest.param(b'{"messages":[{"model":"x"}]', BEYOND, id="a nested one alone"),
        pytest.param(b'{"messages":[{"model":"x"', BEYOND, id="cut in a nested one"),
        pytest.param(b'{"messages":[{"content":"},\\"model\\":\\"x\\",', BEYOND, id="one in a text"),
        pytest.param(b"{", BEYOND, id="a brace"),
        pytest.param(b" ", BEYOND, id="a blank"),
        pytest.param(b"", BEYOND, id="nothing"),
        pytest.param(b'{"model":1', NOT_STRING, id="a number"),
        pytest.param(b'{"model":-', NOT_STRING, id="the sign of one"),
        pytest.param(b'{"model":n', NOT_STRING, id="a letter of null"),
        pytest.param(b'{"model":[', NOT_STRING, id="an array"),
        pytest.param(b'{"model":{"model":"phi"', NOT_STRING, id="an object"),
        pytest.param(b'{"model":1e999,', NOT_STRING, id="a number beyond floats"),
        pytest.param(b'{"model":' + b"9" * 5000 + b",", NOT_STRING, id="a number beyond integers"),
        pytest.param(b'{"model":"\xff",', NOT_OBJECT, id="no UTF-8"),
        pytest.param(b'{"model":"p\nhi",', NOT_OBJECT, id="a raw line break in it"),
        pytest.param(b'{"model":"phi","x":[1 2,', NOT_OBJECT, id="a comma missing"),
        pytest.param(b'{"model":"phi","x":[1}', NOT_OBJECT, id="the wrong bracket"),
        pytest.param(b'{"model":"phi",}', NOT_OBJECT, id="a comma too many"),
        pytest.param(b'{"model":"phi"}}', NOT_OBJECT, id="a brace too many"),
        pytest.param(b'{"model":"phi"}x', NOT_OBJECT, id="something after the end"),
        pytest.param(b'{"model":}', NOT_OBJECT, id="no value"),
        pytest.param(b'{"model":"phi","x":nope,', NOT_OBJECT, id="a word"),
        pytest.param(b"{'model':'phi'", NOT_OBJECT, id="single quotes"),
        pytest.param(b'[{"model":"phi"', NOT_OBJECT, id="an array of objects"),
        pytest.param(b'"model', NOT_OBJECT, id="a string"),
        pytest.param(b"model=phi", NOT_OBJECT, id="a form"),
        pytest.param(b"nul", NOT_OBJECT, id="null"),
        pytest.param(b"12", NOT_OBJECT, id="digits"),
        pytest.param(b'{"model":"phi","x":' + b"[" * 100_000, NOT_OBJECT, id="nested too deeply"),
        pytest.param(b'{"model":"phi"}', "phi", id="whole"),
        pytest.param(b'{"x":1}', MISSING, id="whole without a model"),
        pytest.param('{"model":"phi"}'.encode("utf-16"), "phi", id="whole in UTF-16"),
    ],
)
def test_model_of_json_prefix(content: bytes, model: str | Reject) -> None:
    assert model_of_json_prefix(content) == model


texts = st.text(max_size=6) | st.sampled_from(["model", "mode", "\ud83d", "😀", 'a"b', "\\", "NaN", '"model":"x"'])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
spellings = st.tuples(
    *(st.sampled_from([letter, f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"]) for letter in "model")
).map(lambda letters: f'"{"".join(letters)}"')


@st.composite
def written_documents(draw: st.DrawFn, model: st.SearchStrategy[Any]) -> bytes:
    """An object whose top-level `model` stands anywhere in it, spelled in any way."""
    members = list(draw(st.dictionaries(texts.filter(lambda key: key != "model"), values, max_size=4)).items())
    members.insert(draw(st.integers(0, len(members))), ("model", draw(model)))
    text = json.dumps(dict(members), ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1)))
    return text.replace('"model"', draw(spellings)).encode(errors="surrogatepass")


def model_of_its_members(beginning: bytes) -> str | None:
    """What a reader finds that closes the object after every byte, and takes what is an object then."""
    for end in range(len(beginning), 0, -1):
        try:
            members = json.loads(beginning[:end] + b"}")
        except ValueError:
            continue
        return members.get("model") if isinstance(members, dict) else None
    return None


@given(content=written_documents(texts), data=st.data())
def test_each_beginning_has_the_model_that_stands_whole_in_it(content: bytes, data: st.DataObject) -> None:
    beginning = content[: data.draw(st.integers(0, len(content) - 1))]
    model = model_of_its_members(beginning)
    assert model_of_json_prefix(beginning) == (BEYOND if model is None else model)


@given(written_documents(texts))
def test_once_found_it_stays(content: bytes) -> None:
    found = [model_of_json_prefix(content[:end]) for end in range(len(content) + 1)]
    first = found.index(model_of_json(content))
    assert found == [BEYOND] * first + found[first : first + 1] * (len(found) - first)


@given(written_documents(values.filter(lambda value: not isinstance(value, str))))
def test_a_model_that_is_no_string_shows_at_its_first_byte(content: bytes) -> None:
    found = [model_of_json_prefix(content[:end]) for end in range(len(content) + 1)]
    first = found.index(NOT_STRING)
    assert found == [BEYOND] * first + [NOT_STRING] * (len(found) - first)


@given(document=values, codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"]))
def test_a_whole_document_is_read_like_any(document: Any, codec: str) -> None:
    content = json.dumps(document).encode(codec)
    assert model_of_json_prefix(content) == model_of_json(content)


tokens = ["{", "}", "[", "]", '"model"', ":", ",", '"phi"', "1", "-", "NaN", "nul", '"\\ud83d"', '"', "\\", " ", "\n"]


@given(st.lists(st.sampled_from(tokens), max_size=12).map(lambda parts: '{"model":' + "".join(parts)) | st.text())
def test_what_the_whole_reader_takes_is_a_whole_document(text: str) -> None:
    content = text.encode(errors="surrogatepass")
    model = model_of_json(content)
    assert model == NOT_OBJECT or model_of_json_prefix(content) == model


@given(st.binary() | st.binary().map(lambda data: b'{"model":' + data))
def test_any_bytes_give_a_name_or_a_refusal(content: bytes) -> None:
    assert isinstance(model_of_json_prefix(content), str | Reject)


def test_a_large_whole_document_with_a_mark_is_read_like_any() -> None:
    """Beyond the size up to which `json` is asked."""
    content = b'\xef\xbb\xbf{"model":"phi","x":"' + b"x" * SECOND_LOOK_BYTES + b'"}'
    assert model_of_json_prefix(content) == model_of_json(content) == "phi"


@pytest.mark.parametrize(
    ("head", "repeated"),
    [
        pytest.param(b'{"model":"phi","x":"', b"A", id="an image"),
        pytest.param(b'{"model":"phi","x":[', b"[],", id="brackets"),
        pytest.param(b'{"model":"phi","x":["', b"\\\\", id="backslashes"),
        pytest.param(b'{"model":"phi","x":["', b'\\"', id="escaped quotes"),
        pytest.param(b'{"model":"phi","x":["', b"\\ud83d", id="half emojis"),
        pytest.param(b'{"model":"phi",', b'"x":{},', id="members"),
        pytest.param(b'{"model":"phi","x":[', b'{"model":1},', id="nested models"),
        pytest.param(b'{"model":"phi","model"', b" ", id="blanks after a key"),
    ],
)
def test_time_grows_with_the_bytes_alone(head: bytes, repeated: bytes) -> None:
    content = head + repeated * ((2 << 20) // len(repeated))
    began_s = time.process_time()
    assert model_of_json_prefix(content) == "phi"
    assert time.process_time() - began_s < 0.5


@pytest.mark.parametrize(
    ("head", "repeated", "tail", "most"),
    [
        pytest.param(b'{"x":"', b"\\ud83d", b'","model":"phi",', MOST_LONE_SURROGATES, id="half emojis"),
        pytest.param(b'{"x":[', b'{"model":1},', b'{}],"model":"phi",', MOST_MODEL_KEYS - 1, id="nested models"),
        pytest.param(b"{", b'"model" : 1,', b'"model":"phi",', MOST_MODEL_KEYS - 1, id="models"),
    ],
)
def test_what_is_marked_has_a_limit(head: bytes, repeated: bytes, tail: bytes, most: int) -> None:
    assert model_of_json_prefix(head + repeated * most + tail) == "phi"
    assert model_of_json_prefix(head + repeated * (most + 1) + tail) == NOT_OBJECT


@pytest.mark.parametrize("repeated", [b'"model":1,', b'"x":"\\ud800",', b'"x":{"model":1},'])
def test_a_beginning_full_of_what_is_marked_takes_little(repeated: bytes) -> None:
    """As gzip they are 60 kB. All told it took up to 9 s and 1.8 GB to mark them."""
    content = b"{" + repeated * (60_000_000 // len(repeated))
    before, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert model_of_json_prefix(content) == NOT_OBJECT
    assert time.process_time() - began_s < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_paired_emojis_have_no_limit() -> None:
    """As `json.dumps` writes them, and as it writes what it wrote."""
    text = "😀" * MOST_LONE_SURROGATES + json.dumps("😀") * MOST_LONE_SURROGATES
    assert model_of_json_prefix(json.dumps({"x": text, "model": "phi", "y": 1}).encode()[:-1]) == "phi"


def test_a_model_that_is_no_string_is_not_built() -> None:
    """Ten million lists would be a gigabyte: it is enough to see that it begins with a bracket."""
    content = b'{"model": [' + b"[]," * 10_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert model_of_json_prefix(content) == NOT_STRING
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
