"""The edit by which a request's body names the model that was chosen for it, or why there can be none."""

import msgspec

from extproc.director.decide import SHOWN_MODEL_CHARACTERS
from extproc.parsers.model_span import find_model_span
from extproc.values.decision import Edit, Route
from extproc.values.refusal import Reason, Reject
from extproc.values.request import BodyExtent, InferenceRequest, RequestHead


def rename(
    route: Route, request: InferenceRequest, *, head: RequestHead, body: bytes, extent: BodyExtent
) -> Route | Reject:
    """The route with the edit that has the body name the model that was chosen, where the client named another."""
    if not route.model or route.model == request.model:
        return route
    edit = edit_name(request, route.model, head=head, body=body, extent=extent)
    return edit if isinstance(edit, Reject) else msgspec.structs.replace(route, edit=edit)


def edit_name(
    request: InferenceRequest, model: str, *, head: RequestHead, body: bytes, extent: BodyExtent
) -> Edit | Reject | None:
    """What has `body`, of which `request` was read, say `model`; None where the request has no body.

    A JSON string is written escaped, a form's field in its bytes. All other bytes stay. A body into which the name
    cannot be written is refused: an engine must not be asked for a name that it does not know.
    """
    shown = {"model": (request.model or "")[:SHOWN_MODEL_CHARACTERS]}
    if not request.is_editable:
        if extent is BodyExtent.WHOLE:
            encoding = head.headers.get("content-encoding", "")[:80]
            return Reject(Reason.RENAME_ENCODED, shown | {"encoding": encoding}) if body else None
        return Reject(Reason.RENAME_UNSEEN if extent is BodyExtent.UNSEEN else Reason.RENAME_PARTIAL, shown)
    span = find_model_span(body, head.headers.get("content-type", ""))
    if span is None:
        return Reject(Reason.RENAME_UNPLACED, shown)
    try:
        replacement = msgspec.json.encode(model) if span.is_json else model.encode()
    except UnicodeEncodeError:  # of a header, whose bytes need not be UTF-8
        return Reject(Reason.RENAME_UNPLACED, shown)
    return Edit(span.start, span.end, replacement)
