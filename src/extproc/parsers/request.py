"""The one way in: head and body of an HTTP request to an `InferenceRequest`, or to a refusal."""

from extproc.parsers.encoding import decode_content
from extproc.parsers.json_body import model_of_json
from extproc.parsers.multipart_body import model_of_multipart
from extproc.parsers.paths import models_intent
from extproc.values.refusal import Reason, Reject
from extproc.values.request import InferenceRequest, Intent, RequestHead, RouteToAny, RouteToModel

METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
MODEL_HEADER = "x-gateway-model-name"


def parse_request(head: RequestHead, body: bytes, *, max_body_bytes: int, now: float) -> InferenceRequest | Reject:
    """What the request asks for.

    The model's name comes from the body, whatever the path: JSON, or multipart/form-data where the content type says
    so. A request without a body may name it in the header `x-gateway-model-name`, else any endpoint will do.
    `max_body_bytes` also bounds a compressed body once it is decompressed. `now` is in monotonic seconds.
    """
    intent = _intent(head, body, max_body_bytes)
    if isinstance(intent, Reject):
        return intent
    return InferenceRequest(intent=intent, arrived_s=now, subset=head.subset)


def _intent(head: RequestHead, body: bytes, max_body_bytes: int) -> Intent | Reject:
    if (intent := models_intent(head.method, head.path)) is not None:
        return intent
    if not body:
        model = head.headers.get(MODEL_HEADER)
        return RouteToModel(model) if model else RouteToAny()
    content = decode_content(body, head.headers.get("content-encoding", ""), max_bytes=max_body_bytes)
    if isinstance(content, Reject):
        return content
    content_type = head.headers.get("content-type", "")
    if content_type[:19].lower() == "multipart/form-data":
        found = model_of_multipart(content, content_type)
    else:
        found = model_of_json(content)
    if isinstance(found, Reject):
        return RouteToAny() if head.method in METHODS_WITHOUT_BODY else found
    return RouteToModel(found) if found else Reject(Reason.MODEL_EMPTY)
