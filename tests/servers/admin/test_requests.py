"""servers/admin/requests: the HTTP request that an ExplainRequest stands for."""

import json
from typing import Any

import pytest

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.servers.admin.requests import DEFAULT_PATH, read_request
from extproc.values.request import RequestHead

JSON = {"content-type": "application/json"}
SAID = [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("asked", "head", "body"),
    [
        pytest.param(
            {"model": "m", "prompt": "Hi"},
            RequestHead("POST", DEFAULT_PATH, JSON),
            {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
            id="a chat",
        ),
        pytest.param({}, RequestHead("POST", DEFAULT_PATH, JSON), {"messages": SAID}, id="no model is named"),
        pytest.param(
            {"method": "get", "path": "/v1/models?x"}, RequestHead("GET", "/v1/models?x", {}), None, id="no body"
        ),
        pytest.param(
            {"body": b"{}", "model": "m", "method": "PUT"},
            RequestHead("PUT", DEFAULT_PATH, JSON),
            {},
            id="a body of its own counts",
        ),
        pytest.param(
            {"headers": {"X-A": "B", "Content-Type": "x/y"}},
            RequestHead("POST", DEFAULT_PATH, {"x-a": "B", "content-type": "x/y"}),
            {"messages": SAID},
            id="names of headers are in lower case",
        ),
        pytest.param(
            {"subset": admin_pb2.Subset(addresses=["[0::1]:80", " ", "host:80"])},
            RequestHead("POST", DEFAULT_PATH, JSON, ("[::1]:80", "host:80")),
            {"messages": SAID},
            id="addresses are spelt as those of endpoints",
        ),
        pytest.param(
            {"subset": admin_pb2.Subset()},
            RequestHead("POST", DEFAULT_PATH, JSON, ()),
            {"messages": SAID},
            id="an empty subset is one",
        ),
    ],
)
def test_what_is_asked_is_a_request_as_a_data_plane_shows_it(
    asked: dict[str, Any], head: RequestHead, body: dict[str, Any] | None
) -> None:
    found, content = read_request(admin_pb2.ExplainRequest(**asked))
    assert found == head
    assert (json.loads(content) if content else None) == body
