"""The one way in: head and body of an HTTP request to an `InferenceRequest`, or to a refusal."""

from extproc.parsers.encoding import Content, decode_content
from extproc.parsers.json_body import read_json
from extproc.parsers.json_prefix import model_of_json_prefix
from extproc.parsers.multipart_body import is_form, model_of_multipart
from extproc.parsers.paths import models_intent
from extproc.parsers.prompt import prompt_of
from extproc.values.refusal import Reason, Reject
from extproc.values.request import (
    BodyExtent,
    InferenceRequest,
    Intent,
    Prompt,
    RequestHead,
    RouteToAny,
    RouteToModel,
)

METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
MODEL_HEADER = "x-gateway-model-name"
REWRITE_HEADERS = ("x-gateway-model-name-rewrite", "x-llm-d-model-name-rewrite")
OBJECTIVE_HEADERS = ("x-gateway-inference-objective", "x-llm-d-inference-objective")
"""Of two that say the same the first counts that is not empty."""

_REWRITE, _REWRITE_TOO = REWRITE_HEADERS
_OBJECTIVE, _OBJECTIVE_TOO = OBJECTIVE_HEADERS
_WHOLE = BodyExtent.WHOLE
"""Looked up once: Python 3.11 takes 70 ns for a member of an enum, and each request asks."""


def parse_request(
    head: RequestHead,
    body: bytes,
    *,
    extent: BodyExtent = _WHOLE,
    max_body_bytes: int,
    now: float,
    session_header: str | None = None,
) -> InferenceRequest | Reject:
    """What the request asks for.

    The model's name comes from the body, whatever the path: JSON, or multipart/form-data where the content type says
    so. A request without a body may name it in the header `x-gateway-model-name`, else any endpoint will do.
    `max_body_bytes` also bounds a compressed body once it is decompressed. `now` is in monotonic seconds. The name of
    `session_header` is in lower case, None where sessions do not matter.

    Where `body` is but the beginning (`PARTIAL`), the model is the one that it holds whole, and its absence is
    `MODEL_BEYOND_BUFFER`. A body that is there but `UNSEEN` (`body` is empty) leaves the header to name the model;
    without it, methods that need no body go to any endpoint, and for the others it is `BODY_UNSEEN`.

    The prompt is read of whole JSON alone; that there is none, or none that can be read, refuses nothing.
    """
    intent, prompt, is_editable = _read(head, body, extent, max_body_bytes)
    if isinstance(intent, Reject):
        return intent
    headers = head.headers
    return InferenceRequest(
        intent=intent,
        arrived_s=now,
        subset=head.subset,
        prompt=prompt,
        is_editable=is_editable,
        rewrite=headers.get(_REWRITE) or headers.get(_REWRITE_TOO) or None,
        objective=headers.get(_OBJECTIVE) or headers.get(_OBJECTIVE_TOO) or None,
        session=(headers.get(session_header) or None) if session_header else None,
    )


def _read(
    head: RequestHead, body: bytes, extent: BodyExtent, max_body_bytes: int
) -> tuple[Intent | Reject, Prompt | None, bool]:
    """Intent, prompt, and whether another name for the model could be put into the body."""
    if (intent := models_intent(head.method, head.path)) is not None:
        return intent, None, False
    if not body and extent is not BodyExtent.PARTIAL:
        return _intent_of_head(head, extent), None, False
    is_whole = extent is _WHOLE
    content: Content = body
    if encoding := head.headers.get("content-encoding"):
        decoded = decode_content(body, encoding, max_bytes=max_body_bytes, is_whole=is_whole)
        if isinstance(decoded, Reject):
            return decoded, None, False
        content = decoded
    content_type, prompt = head.headers.get("content-type", ""), None
    if is_form(content_type):
        found = model_of_multipart(content, content_type, is_whole=is_whole)
    elif is_whole:
        found, document = read_json(content)
        if document is not None and not isinstance(found, Reject):
            prompt = prompt_of(document, content)
    else:
        found = model_of_json_prefix(content)
    if isinstance(found, Reject):
        return (RouteToAny() if head.method in METHODS_WITHOUT_BODY else found), None, False
    return (RouteToModel(found) if found else Reject(Reason.MODEL_EMPTY)), prompt, is_whole and content is body


def _intent_of_head(head: RequestHead, extent: BodyExtent) -> Intent | Reject:
    """What a request asks for of which no byte of body can be read."""
    if model := head.headers.get(MODEL_HEADER):
        return RouteToModel(model)
    if extent is BodyExtent.UNSEEN and head.method not in METHODS_WITHOUT_BODY:
        return Reject(Reason.BODY_UNSEEN)
    return RouteToAny()
