"""The one way in: head and body of an HTTP request to an `InferenceRequest`, or to a refusal."""

from extproc.parsers.encoding import decode_content
from extproc.parsers.json_body import model_of_json
from extproc.parsers.json_prefix import model_of_json_prefix
from extproc.parsers.multipart_body import model_of_multipart
from extproc.parsers.paths import models_intent
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, InferenceRequest, Intent, RequestHead, RouteToAny, RouteToModel

METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
MODEL_HEADER = "x-gateway-model-name"

_WHOLE = BodyExtent.WHOLE
"""Looked up once: Python 3.11 takes 70 ns for a member of an enum, and each request asks."""


def parse_request(
    head: RequestHead,
    body: bytes,
    *,
    extent: BodyExtent = _WHOLE,
    max_body_bytes: int,
    now: float,
) -> InferenceRequest | Reject:
    """What the request asks for.

    The model's name comes from the body, whatever the path: JSON, or multipart/form-data where the content type says
    so. A request without a body may name it in the header `x-gateway-model-name`, else any endpoint will do.
    `max_body_bytes` also bounds a compressed body once it is decompressed. `now` is in monotonic seconds.

    Where `body` is but the beginning (`PARTIAL`), the model is the one that it holds whole, and its absence is
    `MODEL_BEYOND_BUFFER`. A body that is there but `UNSEEN` (`body` is empty) leaves the header to name the model;
    without it, methods that need no body go to any endpoint, and for the others it is `BODY_UNSEEN`.
    """
    intent = _intent(head, body, extent, max_body_bytes)
    if isinstance(intent, Reject):
        return intent
    return InferenceRequest(intent=intent, arrived_s=now, subset=head.subset)


def _intent(head: RequestHead, body: bytes, extent: BodyExtent, max_body_bytes: int) -> Intent | Reject:
    if (intent := models_intent(head.method, head.path)) is not None:
        return intent
    if not body and extent is not BodyExtent.PARTIAL:
        return _intent_of_head(head, extent)
    is_whole = extent is _WHOLE
    content = decode_content(
        body, head.headers.get("content-encoding", ""), max_bytes=max_body_bytes, is_whole=is_whole
    )
    if isinstance(content, Reject):
        return content
    content_type = head.headers.get("content-type", "")
    if content_type[:19].lower() == "multipart/form-data":
        found = model_of_multipart(content, content_type, is_whole=is_whole)
    else:
        found = model_of_json(content) if is_whole else model_of_json_prefix(content)
    if isinstance(found, Reject):
        return RouteToAny() if head.method in METHODS_WITHOUT_BODY else found
    return RouteToModel(found) if found else Reject(Reason.MODEL_EMPTY)


def _intent_of_head(head: RequestHead, extent: BodyExtent) -> Intent | Reject:
    """What a request asks for of which no byte of body can be read."""
    if model := head.headers.get(MODEL_HEADER):
        return RouteToModel(model)
    if extent is BodyExtent.UNSEEN and head.method not in METHODS_WITHOUT_BODY:
        return Reject(Reason.BODY_UNSEEN)
    return RouteToAny()
