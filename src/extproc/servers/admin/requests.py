"""The HTTP request that an `ExplainRequest` stands for, as a data plane would show it."""

import msgspec

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.protocol.codec import read_subset
from extproc.values.request import RequestHead

DEFAULT_METHOD = "POST"
DEFAULT_PATH = "/v1/chat/completions"


def read_request(request: admin_pb2.ExplainRequest) -> tuple[RequestHead, bytes]:
    """The request's head and body. A POST without a body of its own is a chat completion, of `model` where one is
    given; any other method has none.
    """
    body = request.body
    method = request.method.upper() or DEFAULT_METHOD
    if not body and method == DEFAULT_METHOD:
        named = {"model": request.model} if request.model else {}
        body = msgspec.json.encode(named | {"messages": [{"role": "user", "content": request.prompt}]})
    headers = {name.lower(): value for name, value in request.headers.items()}
    if body:
        headers.setdefault("content-type", "application/json")
    subset = read_subset(request.subset.addresses) if request.HasField("subset") else None
    return RequestHead(method, request.path or DEFAULT_PATH, headers, subset), body
