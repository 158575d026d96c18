"""parsers/request: from head and body to what is asked for."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.parsers.request import parse_request
from extproc.values.refusal import Reason, Reject
from extproc.values.request import (
    BodyExtent,
    DescribeModel,
    InferenceRequest,
    Intent,
    ListModels,
    Prompt,
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
    extent: BodyExtent = BodyExtent.WHOLE,
    max_body_bytes: int = 1000,
) -> Intent | Reject:
    head = RequestHead(method, path, headers or {})
    request = parse_request(head, body, extent=extent, max_body_bytes=max_body_bytes, now=0.0)
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


GZIPPED = {"content-encoding": "gzip"}
NAMED = {"x-gateway-model-name": "gemma"}
BEYOND = Reject(Reason.MODEL_BEYOND_BUFFER)


@pytest.mark.parametrize(
    ("method", "body", "headers", "intent"),
    [
        pytest.param("POST", PHI[:-1] + b',"x":[', {}, RouteToModel("phi"), id="with the model"),
        pytest.param("POST", PHI, {}, RouteToModel("phi"), id="that is all of it"),
        pytest.param("POST", PHI[:-2], {}, BEYOND, id="with a part of the model"),
        pytest.param("POST", b'{"x":[', NAMED, BEYOND, id="without the model, for all the header says"),
        pytest.param("POST", b"", NAMED, BEYOND, id="of no byte"),
        pytest.param("POST", b"{}", {}, Reject(Reason.MODEL_MISSING), id="that is all of it, without a model"),
        pytest.param("POST", b'{"model":"",', {}, Reject(Reason.MODEL_EMPTY), id="with an empty model"),
        pytest.param("POST", b'{"model":7,', {}, Reject(Reason.MODEL_NOT_STRING), id="with a model that is none"),
        pytest.param("POST", b"model=phi", {}, Reject(Reason.BODY_NOT_OBJECT), id="of no JSON"),
        pytest.param("POST", FORM[:-3], {"content-type": FORM_TYPE}, BEYOND, id="of a form, with a part of the model"),
        pytest.param(
            "POST",
            FORM[:-4] + b"\r\n",
            {"content-type": FORM_TYPE},
            RouteToModel("phi"),
            id="of a form, with the model",
        ),
        pytest.param("POST", gzip.compress(PHI)[:-1], GZIPPED, RouteToModel("phi"), id="compressed, with the model"),
        pytest.param("POST", gzip.compress(PHI)[:12], GZIPPED, BEYOND, id="compressed, without it"),
        pytest.param(
            "POST",
            PHI,
            GZIPPED,
            Reject(Reason.BODY_NOT_DECODABLE, {"format": "gzip"}),
            id="that is not compressed as it says",
        ),
        pytest.param("GET", b'{"x":[', {}, RouteToAny(), id="of a method that has none"),
        pytest.param("DELETE", PHI[:-1], {}, RouteToModel("phi"), id="of a method that has none, with the model"),
    ],
)
def test_the_beginning_of_a_body(method: str, body: bytes, headers: dict[str, str], intent: Intent | Reject) -> None:
    assert parse(method, body=body, headers=headers, extent=BodyExtent.PARTIAL) == intent


@pytest.mark.parametrize(
    ("method", "path", "headers", "intent"),
    [
        pytest.param("POST", "/", NAMED, RouteToModel("gemma"), id="named by the header"),
        pytest.param("POST", "/", {}, Reject(Reason.BODY_UNSEEN), id="not named"),
        pytest.param("POST", "/", {"x-gateway-model-name": ""}, Reject(Reason.BODY_UNSEEN), id="an empty header"),
        pytest.param("POST", "/", GZIPPED, Reject(Reason.BODY_UNSEEN), id="compressed"),
        pytest.param("GET", "/", {}, RouteToAny(), id="of a method that has none"),
        pytest.param("DELETE", "/", NAMED, RouteToModel("gemma"), id="of a method that has none, named"),
        pytest.param("GET", "/v1/models", NAMED, ListModels(), id="of the model list"),
        pytest.param("POST", "/v1/models", {}, Reject(Reason.BODY_UNSEEN), id="of the model list, another method"),
    ],
)
def test_a_body_that_is_not_shown(method: str, path: str, headers: dict[str, str], intent: Intent | Reject) -> None:
    assert parse(method, path, headers=headers, extent=BodyExtent.UNSEEN) == intent


@pytest.mark.parametrize("extent", BodyExtent)
@pytest.mark.parametrize(
    ("method", "path", "intent"),
    [
        ("GET", "/v1/models", ListModels()),
        ("HEAD", "/v1/models/org/phi?x", DescribeModel("org/phi")),
        ("POST", "/v1/models", RouteToModel("phi")),
    ],
)
def test_the_model_list_is_asked_for_by_path(method: str, path: str, intent: Intent, extent: BodyExtent) -> None:
    body, headers = (b"", {"x-gateway-model-name": "phi"}) if extent is BodyExtent.UNSEEN else (PHI, {})
    assert parse(method, path, body, headers=headers, extent=extent) == intent


@pytest.mark.parametrize("subset", [None, (), ("10.0.0.1:8000",)])
def test_subset_and_time_go_with_it(subset: tuple[str, ...] | None) -> None:
    head = RequestHead("POST", "/", {}, subset)
    request = parse_request(head, PHI, max_body_bytes=1000, now=7.0)
    assert request == InferenceRequest(RouteToModel("phi"), arrived_s=7.0, subset=subset, is_editable=True)


def parsed(
    body: bytes,
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = "/",
    extent: BodyExtent = BodyExtent.WHOLE,
    session_header: str | None = None,
) -> InferenceRequest:
    request = parse_request(
        RequestHead(method, path, headers or {}),
        body,
        extent=extent,
        max_body_bytes=1000,
        now=0.0,
        session_header=session_header,
    )
    assert isinstance(request, InferenceRequest)
    return request


ASKED = b'{"model":"phi","prompt":"hi","cache_salt":"s"}'
HI = Prompt(b"hi", 2, "s")


@pytest.mark.parametrize(
    ("request_", "prompt", "is_editable"),
    [
        pytest.param(parsed(ASKED), HI, True, id="a body"),
        pytest.param(parsed(PHI), None, True, id="a body without a prompt"),
        pytest.param(parsed(ASKED, {"content-encoding": "identity"}), HI, True, id="that is said not to be compressed"),
        pytest.param(parsed(gzip.compress(ASKED), GZIPPED), HI, False, id="that is compressed"),
        pytest.param(parsed(ASKED, extent=BodyExtent.PARTIAL), None, False, id="of which the beginning is shown"),
        pytest.param(parsed(ASKED, method="GET"), HI, True, id="of a method that has none"),
        pytest.param(parsed(b"{}", method="GET"), None, False, id="of a method that has none, no model in it"),
        pytest.param(parsed(FORM, {"content-type": FORM_TYPE}), None, True, id="a form"),
        pytest.param(parsed(b"", NAMED), None, False, id="no body"),
        pytest.param(parsed(b"", NAMED, extent=BodyExtent.UNSEEN), None, False, id="a body that is not shown"),
        pytest.param(parsed(ASKED, path="/v1/models", method="GET"), None, False, id="the model list"),
        pytest.param(parsed(ASKED[:-1] + b',"x":"\\ud83d"}'), HI, True, id="half an emoji"),
        pytest.param(parsed(ASKED[:-1] + b',"x":NaN}'), None, True, id="NaN"),
    ],
)
def test_prompt_and_whether_the_name_can_be_changed(
    request_: InferenceRequest, prompt: Prompt | None, is_editable: bool
) -> None:
    assert (request_.prompt, request_.is_editable) == (prompt, is_editable)


@pytest.mark.parametrize(
    ("headers", "rewrite"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"x-gateway-model-name-rewrite": "a"}, "a", id="the gateway's"),
        pytest.param({"x-llm-d-model-name-rewrite": "b"}, "b", id="llm-d's"),
        pytest.param({"x-gateway-model-name-rewrite": "a", "x-llm-d-model-name-rewrite": "b"}, "a", id="both"),
        pytest.param({"x-gateway-model-name-rewrite": "", "x-llm-d-model-name-rewrite": "b"}, "b", id="one empty"),
        pytest.param({"x-llm-d-model-name-rewrite": ""}, None, id="an empty one"),
        pytest.param({"x-gateway-model-name": "a"}, None, id="the model's own"),
    ],
)
def test_the_name_that_a_header_wants(headers: dict[str, str], rewrite: str | None) -> None:
    assert parsed(PHI, headers).rewrite == parsed(b"", headers).rewrite == rewrite
    objectives = {name.replace("model-name-rewrite", "inference-objective"): value for name, value in headers.items()}
    assert parsed(PHI, objectives).objective == rewrite


@pytest.mark.parametrize(
    ("headers", "session_header", "session"),
    [
        pytest.param({"x-session": "s"}, "x-session", "s", id="by its header"),
        pytest.param({"x-session": ""}, "x-session", None, id="empty"),
        pytest.param({}, "x-session", None, id="absent"),
        pytest.param({"x-session": "s"}, None, None, id="not asked for"),
    ],
)
def test_the_session(headers: dict[str, str], session_header: str | None, session: str | None) -> None:
    assert parsed(PHI, headers, session_header=session_header).session == session


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
    extent=st.sampled_from(BodyExtent),
)
def test_no_request_raises(
    method: str, path: str, body: bytes, encoding: str, content_type: str, extent: BodyExtent
) -> None:
    headers = {"content-encoding": encoding, "content-type": content_type}
    request = parse_request(RequestHead(method, path, headers), body, extent=extent, max_body_bytes=1000, now=0.0)
    assert isinstance(request, InferenceRequest | Reject)
