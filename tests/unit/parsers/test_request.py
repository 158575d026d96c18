"""parsers/request: from head and body to what is asked for."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.request import parse_request
from extproc.values.refusal import Reason, Reject
from extproc.values.request import (
    DescribeModel,
    InferenceRequest,
    Intent,
    ListModels,
    RequestHead,
    RouteToAny,
    RouteToModel,
)

PHI = b'{"model":"phi"}'
FORM_TYPE = "multipart/form-data; boundary=b"
FORM = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nphi\r\n--b--\r\n'


def parse(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    max_body_bytes: int = 1000,
) -> Intent | Reject:
    request = parse_request(RequestHead(method, path, headers or {}), body, max_body_bytes=max_body_bytes, now=0.0)
    return request if isinstance(request, Reject) else request.intent


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/rerank", "/tokenize", "/", ""],
)
def test_the_body_names_the_model_whatever_the_path(path: str) -> None:
    assert parse(path=path, body=PHI) == RouteToModel("phi")


@pytest.mark.parametrize(
    ("method", "body", "headers", "intent"),
    [
        pytest.param("POST", PHI, {}, RouteToModel("phi"), id="a body"),
        pytest.param("PUT", PHI, {}, RouteToModel("phi"), id="a body of another method"),
        pytest.param("POST", PHI, {"x-gateway-model-name": "gemma"}, RouteToModel("phi"), id="body before header"),
        pytest.param("POST", b"", {}, RouteToAny(), id="no body"),
        pytest.param("POST", b"", {"x-gateway-model-name": "phi"}, RouteToModel("phi"), id="no body but the header"),
        pytest.param("POST", b"", {"x-gateway-model-name": ""}, RouteToAny(), id="an empty header"),
        pytest.param("GET", b"", {}, RouteToAny(), id="GET"),
        pytest.param("GET", b"", {"x-gateway-model-name": "phi"}, RouteToModel("phi"), id="GET with the header"),
        pytest.param("GET", PHI, {}, RouteToModel("phi"), id="a body of a method that has none names a model"),
        pytest.param("DELETE", b"{}", {}, RouteToAny(), id="a body of a method that has none names no model"),
        pytest.param("POST", b" ", {}, Reject(Reason.BODY_NOT_OBJECT), id="a body of white space"),
        pytest.param("POST", b"{}", {}, Reject(Reason.MODEL_MISSING), id="no model"),
        pytest.param(
            "POST", b"{}", {"x-gateway-model-name": "phi"}, Reject(Reason.MODEL_MISSING), id="no model but the header"
        ),
        pytest.param("POST", b'{"model":""}', {}, Reject(Reason.MODEL_EMPTY), id="an empty model"),
        pytest.param("POST", b'{"model":7}', {}, Reject(Reason.MODEL_NOT_STRING), id="a model that is none"),
        pytest.param("POST", PHI, {"content-type": "text/plain"}, RouteToModel("phi"), id="JSON by another type"),
        pytest.param("POST", FORM, {"content-type": FORM_TYPE}, RouteToModel("phi"), id="a form"),
        pytest.param(
            "POST", FORM, {"content-type": FORM_TYPE.replace("m", "M")}, RouteToModel("phi"), id="a form, other case"
        ),
        pytest.param("POST", FORM, {}, Reject(Reason.BODY_NOT_OBJECT), id="a form by no type"),
        pytest.param(
            "POST",
            FORM.replace(b"phi", b""),
            {"content-type": FORM_TYPE},
            Reject(Reason.MODEL_EMPTY),
            id="a form with an empty model",
        ),
        pytest.param("POST", gzip.compress(PHI), {"content-encoding": "gzip"}, RouteToModel("phi"), id="gzip"),
        pytest.param(
            "POST",
            gzip.compress(FORM),
            {"content-encoding": "gzip", "content-type": FORM_TYPE},
            RouteToModel("phi"),
            id="a compressed form",
        ),
        pytest.param(
            "POST",
            PHI,
            {"content-encoding": "br"},
            Reject(Reason.ENCODING_UNSUPPORTED, {"encoding": "br"}),
            id="an encoding that is not read",
        ),
        pytest.param(
            "POST",
            gzip.compress(bytes(1001)),
            {"content-encoding": "gzip"},
            Reject(Reason.BODY_TOO_LARGE, {"limit": "1000"}),
            id="too large once decompressed",
        ),
    ],
)
def test_what_is_asked_for(method: str, body: bytes, headers: dict[str, str], intent: Intent | Reject) -> None:
    assert parse(method, body=body, headers=headers) == intent


@pytest.mark.parametrize(
    ("method", "path", "intent"),
    [
        ("GET", "/v1/models", ListModels()),
        ("HEAD", "/v1/models/org/phi?x", DescribeModel("org/phi")),
        ("POST", "/v1/models", RouteToModel("phi")),
    ],
)
def test_the_model_list_is_asked_for_by_path(method: str, path: str, intent: Intent) -> None:
    assert parse(method, path, PHI) == intent


@pytest.mark.parametrize("subset", [None, (), ("10.0.0.1:8000",)])
def test_subset_and_time_go_with_it(subset: tuple[str, ...] | None) -> None:
    head = RequestHead("POST", "/", {}, subset)
    request = parse_request(head, PHI, max_body_bytes=1000, now=7.0)
    assert request == InferenceRequest(RouteToModel("phi"), arrived_s=7.0, subset=subset)


@pytest.mark.parametrize(
    ("intent", "model"),
    [(RouteToModel("phi"), "phi"), (DescribeModel("phi"), "phi"), (RouteToAny(), None), (ListModels(), None)],
)
def test_the_model_of_a_request(intent: Intent, model: str | None) -> None:
    assert InferenceRequest(intent, arrived_s=0.0).model == model


@given(
    method=st.sampled_from(["GET", "POST", ""]),
    path=st.text(max_size=20) | st.just("/v1/models"),
    body=st.binary(max_size=60) | st.just(PHI),
    encoding=st.sampled_from(["", "gzip", "deflate"]) | st.text(max_size=9),
    content_type=st.sampled_from(["", FORM_TYPE, "multipart/form-data; boundary=\udcff"]) | st.text(max_size=20),
)
def test_no_request_raises(method: str, path: str, body: bytes, encoding: str, content_type: str) -> None:
    headers = {"content-encoding": encoding, "content-type": content_type}
    request = parse_request(RequestHead(method, path, headers), body, max_body_bytes=1000, now=0.0)
    assert isinstance(request, InferenceRequest | Reject)
