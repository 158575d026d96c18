"""The HTTP request that an `ExplainRequest` stands for, as a data plane would show it."""

import msgspec

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.values.request import RequestHead

DEFAULT_PATH = "/v1/chat/completions"


def read_request(request: admin_pb2.ExplainRequest) -> tuple[RequestHead, bytes]:
    """The request's head and body. Without a body of its own it is a chat completion."""
    body = request.body
    method = request.method or "POST"
    if not body and method == "POST":
        message = {"role": "user", "content": request.prompt}
        body = msgspec.json.encode({"model": request.model, "messages": [message]})
    headers = {name.lower(): value for name, value in request.headers.items()}
    if body:
        headers.setdefault("content-type", "application/json")
    subset = tuple(request.subset.addresses) if request.HasField("subset") else None
    return RequestHead(method, request.path or DEFAULT_PATH, headers, subset), body
