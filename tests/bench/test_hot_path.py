"""The loop that valgrind counts goes the way of a request behind Envoy."""

import pytest
from bench.hot_path import Loop

from extproc._gen.envoy.service.ext_proc.v3 import external_processor_pb2 as messages


@pytest.mark.parametrize(
    ("mode", "answers"),
    [
        pytest.param("detach", ["request_headers"], id="detach"),
        pytest.param("track", ["request_headers", "response_headers"], id="track"),
    ],
)
async def test_each_request_is_routed(mode: str, answers: list[str]) -> None:
    written = [messages.ProcessingResponse.FromString(each) for each in await Loop(mode).serve(4)]
    assert [each.WhichOneof("response") for each in written] == answers
    assert written[0].request_headers.response.body_mutation.body.startswith(b'{"model":')
