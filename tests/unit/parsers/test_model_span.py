"""parsers/model_span: the bytes of the model's name, exactly, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.json_body import model_of_json
from extproc.parsers.json_models import MOST_MODEL_KEYS
from extproc.parsers.model_span import find_model_span
from extproc.values.request import Span

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"


def value_at(content: bytes, content_type: str = JSON) -> bytes | None:
    span = find_model_span(content, content_type)
    assert span is None or span.is_json == (content_type == JSON)
    return None if span is None else content[span.start : span.end]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(b'{"model":"phi"}', b'"phi"', id="alone"),
        pytest.param(b' {\n"model"\t: \r"phi" }\n', b'"phi"', id="white space"),
        pytest.param(b'{"x":{"model":"x"},"model":"phi"}', b'"phi"', id="behind a nested one"),
        pytest.param(b'{"model":"phi","x":[{"model":"x"}]}', b'"phi"', id="before a nested one"),
        pytest.param(b'{"x":"model","model":"phi"}', b'"phi"', id="behind a value that is called so"),
        pytest.param(b'{"x":"\\"model\\":\\"x\\"","model":"phi"}', b'"phi"', id="behind one in a text"),
        pytest.param(b'{"x\\"model":"y","model":"phi"}', b'"phi"', id="behind a key that ends like it"),
        pytest.param(b'{"m\\u006fdel":"phi"}', b'"phi"', id="an escaped key"),
        pytest.param(b'{"m\\u006Fdel":"phi","x":{"model":"x"}}', b'"phi"', id="an escaped key before a nested one"),
        pytest.param(b'{"model":"\\u0070hi\\"\\\\"}', b'"\\u0070hi\\"\\\\"', id="an escaped value"),
        pytest.param('{"model":"π"}'.encode(), '"π"'.encode(), id="UTF-8"),
        pytest.param(b'{"model":""}', b'""', id="empty"),
        pytest.param(b'\xef\xbb\xbf{"model":"phi"}', b'"phi"', id="behind a byte order mark"),
        pytest.param(b'{"x":"\\ud83d","model":"phi"}', b'"phi"', id="behind half an emoji"),
        pytest.param(b'{"model":"phi\\ud83d"}', b'"phi\\ud83d"', id="half an emoji in it"),
        pytest.param(b'{"x":NaN,"y":-Infinity,"model":"phi"}', b'"phi"', id="behind NaN"),
        pytest.param(b'{"model":"NaN","x":NaN}', b'"NaN"', id="NaN is its name"),
        pytest.param(b'{"model":"phi","model":"phi"}', None, id="given twice"),
        pytest.param(b'{"model":"phi","m\\u006fdel":"x"}', None, id="given twice, once escaped"),
        pytest.param(b'{"model":7,"model":"phi"}', None, id="given twice, once a number"),
        pytest.param(b'{"model":7}', None, id="a number"),
        pytest.param(b'{"model":NaN}', None, id="NaN"),
        pytest.param(b'{"x":{"model":"phi"}}', None, id="a nested one alone"),
        pytest.param(b'{"x\\"model":"phi"}', None, id="a key that ends like it alone"),
        pytest.param(b'{"Model":"phi"}', None, id="another case"),
        pytest.param(b'{"x":"model"}', None, id="a value that is called so alone"),
        pytest.param(b'[{"model":"phi"}]', None, id="no object"),
        pytest.param(b'{"model":"phi"', None, id="cut off"),
        pytest.param(b'{"model":"phi"}}', None, id="something behind it"),
        pytest.param(b'{"x":NaN,"model":"phi"', None, id="cut off, and NaN"),
        pytest.param('{"model":"phi"}'.encode("utf-16"), None, id="UTF-16"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b'{"x":' + b"[" * 9000 + b"]" * 9000 + b',"model":"phi"}', None, id="nested too deeply"),
        pytest.param(
            b'{"x":[' + b'{"model":1},' * MOST_MODEL_KEYS + b'{}],"model":"phi"}', None, id="too many nested ones"
        ),
    ],
)
def test_in_json(content: bytes, value: bytes | None) -> None:
    assert value_at(content) == value


def field(value: bytes, name: bytes = b"model") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name, value)


END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(field(b"phi") + END, b"phi", id="alone"),
        pytest.param(field(b"RIFF\r\n--", b"file") + field(b"phi") + END, b"phi", id="behind another"),
        pytest.param(field(b"phi") + field(b"phi", b"x") + END, b"phi", id="before the same value"),
        pytest.param(field(b"p\r\nhi") + END, b"p\r\nhi", id="a line break in it"),
        pytest.param(field("π".encode()) + END, "π".encode(), id="UTF-8"),
        pytest.param(field(b"phi") + field(b"phi") + END, None, id="given twice"),
        pytest.param(field(b"") + END, None, id="empty"),
        pytest.param(field(b"phi", b"x") + END, None, id="none"),
        pytest.param(field(b"\r\n--phi") + END, b"\r\n--phi", id="it looks like a boundary"),
        pytest.param(field(b"phi"), None, id="cut off"),
        pytest.param(b'{"model":"phi"}', None, id="JSON"),
    ],
)
def test_in_a_form(content: bytes, value: bytes | None) -> None:
    assert value_at(content, FORM) == value


def test_it_says_how_the_name_is_written() -> None:
    assert find_model_span(b'{"model":"phi"}', "") == Span(9, 14)
    assert find_model_span(field(b"phi") + END, "Multipart/Form-Data; boundary=b") == Span(53, 56, is_json=False)


texts = st.text(max_size=6) | st.sampled_from(["model", "mode", "\ud83d", "😀", 'a"b', "\\", "NaN", '"model":"x"'])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    members=st.dictionaries(texts, values, max_size=5),
    model=texts,
    at=st.integers(0, 5),
    other=st.sampled_from(['"gemma"', '""', '"\\u0067"']),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
    spelling=st.sampled_from(['"model"', '"\\u006dodel"']),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_another_name_changes_that_name_and_nothing_else(
    members: dict[str, Any], model: str, at: int, other: str, ascii_only: bool, indent: int, spelling: str, mark: bytes
) -> None:
    items = [item for item in members.items() if item[0] != "model"]
    items.insert(at, ("model", model))
    text = json.dumps(dict(items), ensure_ascii=ascii_only, indent=indent).replace('"model":', f"{spelling}:")
    content = mark + text.encode(errors="surrogatepass")
    span = find_model_span(content, JSON)
    try:
        content.decode()
    except UnicodeDecodeError:
        return
    assert span is not None
    edited = content[: span.start] + other.encode() + content[span.end :]
    assert json.loads(edited) == json.loads(content) | {"model": json.loads(other)}
    assert list(json.loads(edited)) == list(json.loads(content))


tokens = ['{"', '"}', "{", "}", "[", "]", '"model"', '"model":"phi"', ":", ",", '"x"', "1", "NaN", '"\\', '\\"', " "]


@given(st.lists(st.sampled_from(tokens), max_size=14).map("".join) | st.text(max_size=20))
def test_where_it_is_found_the_reader_finds_it_too(text: str) -> None:
    for content in (text.encode(errors="surrogatepass"), b'{"model":"phi",' + text.encode(errors="surrogatepass")):
        value = value_at(content)
        assert value is None or json.loads(value) == model_of_json(content) == json.loads(content)["model"]


@given(st.binary(max_size=60), st.sampled_from([JSON, FORM, "multipart/form-data", ""]))
def test_any_bytes_give_a_span_or_none(content: bytes, content_type: str) -> None:
    assert isinstance(find_model_span(content, content_type), Span | None)


@given(
    value=st.binary(min_size=1, max_size=12) | st.lists(st.sampled_from([b"\r\n", b"--", b"b", b"x"])).map(b"".join),
    before=st.binary(max_size=9),
)
def test_a_field_is_found_to_the_byte(value: bytes, before: bytes) -> None:
    content = field(before, b"file") + field(value) + END
    if b"\r\n--b" not in b"\r\n" + before + b"\r\n" + value:
        assert value_at(content, FORM) == (value or None)
