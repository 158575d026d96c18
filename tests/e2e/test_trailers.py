"""Requests whose end is not the end of their body: trailers, trailers alone, bodies of no bytes. In every mode.

Envoy 1.40 keeps request trailers to an HTTP/2 upstream, and what it shows of them here differs:

| mode                    | a body and trailers           | trailers alone           |
|-------------------------|-------------------------------|--------------------------|
| full duplex             | kept                          | kept, to any endpoint    |
| buffered, partial       | kept                          | 400 invalid_request      |
| overridden to buffered  | kept                          | 400 invalid_request      |
| none, model in a header | kept                          | kept                     |
| streamed, no wait       | kept with a content-length,   | 504 by Envoy             |
|                         | else 504 by Envoy             |                          |

In BUFFERED trailers alone come without a body message before them, and an answer to trailers sets no header of the
request: nothing could route it. In STREAMED without a wait Envoy keeps the trailers back until the headers are
answered, and nothing but the length tells that the body is whole.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.e2e.http2_client import Answer, Http2Client
from tests.e2e.http2_upstream import Http2Upstream
from tests.e2e.modes import PHASES, REQUEST_MODES, Phase, RequestMode, gateway, streams_end
from tests.e2e.picker import Picker

PATH = "/v1/completions"
SMALL = b'{"model": "llama", "prompt": "Hello"}'
LARGE = b'{"model": "llama", "prompt": "' + b"p" * 300_000 + b'"}'
TRAILERS = {"x-checksum": "abc"}
RESPONSE_TRAILERS = {"x-answer": "ends"}
SHOWN = {name: mode for name, mode in REQUEST_MODES.items() if not mode.sends_body_early}
"""Modes in which the trailers come."""


@asynccontextmanager
async def serve(
    mode: RequestMode, phase: Phase, *, timeout_s: float = 5.0
) -> AsyncIterator[tuple[Http2Client, Picker]]:
    """A client of a gateway, and its picker; the endpoint speaks HTTP/2, so nothing is lost on its side."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Http2Upstream(trailers=RESPONSE_TRAILERS))
        site = gateway(mode, phase, {"only": upstream.address}, endpoints_http2=True, message_timeout_s=timeout_s)
        envoy, picker = await stack.enter_async_context(site)
        client = await stack.enter_async_context(Http2Client(envoy.port))
        yield client, picker
        await streams_end(picker)
        assert "Traceback" not in picker.log_text()


def assert_arrived(answer: Answer, body: bytes, trailers: dict[str, str]) -> None:
    """It arrived whole and once, and so did its answer."""
    assert (answer.status, answer.error) == (200, ""), answer
    assert json.loads(answer.body) == {
        "method": "POST",
        "path": PATH,
        "body_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "trailers": trailers,
    }
    assert answer.trailers == RESPONSE_TRAILERS


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", SHOWN.values(), ids=SHOWN)
async def test_trailers_and_empty_bodies(mode: RequestMode, phase: Phase) -> None:
    headers = mode.headers("llama")
    async with serve(mode, phase) as (client, picker):
        for body in (SMALL, LARGE):
            answer = await client.request("POST", PATH, headers, body, trailers=TRAILERS)
            assert_arrived(answer, body, TRAILERS)
        assert await picker.metric("extproc_requests_total", outcome="routed", model="llama") == 2

        for answer in await ask_with_empty_bodies(client, headers):
            assert_arrived(answer, b"", {})
        assert await picker.metric("extproc_requests_total", outcome="routed") == 4

        answer = await client.request("POST", PATH, headers, trailers=TRAILERS)
        if mode.body == "FULL_DUPLEX_STREAMED" or mode.names_model_in_header:
            assert_arrived(answer, b"", TRAILERS)
            assert await picker.metric("extproc_requests_total", outcome="routed") == 5
        else:
            assert answer.status == 400
            assert answer.headers["x-extproc-reason"] == "invalid_request"
            assert await picker.metric("extproc_requests_total", outcome="invalid_request") == 1
        assert await picker.metric("extproc_requests_total") == 5


async def ask_with_empty_bodies(client: Http2Client, headers: dict[str, str]) -> list[Answer]:
    """POSTs without a byte of body: END_STREAM on the headers, then on an empty DATA frame."""
    on_headers = await client.open("POST", PATH, headers | {"content-length": "0"}, has_body=False)
    on_data = await client.open("POST", PATH, headers)
    await on_data.end()
    return [await on_headers.answer(), await on_data.answer()]


@pytest.mark.parametrize("phase", PHASES)
async def test_where_the_trailers_are_kept_back_the_request_ends_and_arrives_nowhere(phase: Phase) -> None:
    mode = REQUEST_MODES["streamed, no wait"]
    async with serve(mode, phase, timeout_s=0.5) as (client, picker):
        for body in (SMALL, LARGE):
            headers = {"content-length": str(len(body))}
            assert_arrived(await client.request("POST", PATH, headers, body, trailers=TRAILERS), body, TRAILERS)
        for body in (SMALL, LARGE, b""):
            answer = await client.request("POST", PATH, {}, body, trailers=TRAILERS)
            assert (answer.status, answer.body) == (504, b"")
        await picker.wait_for_metric("extproc_requests_total", 3, outcome="cancelled")
        for answer in await ask_with_empty_bodies(client, {}):
            assert_arrived(answer, b"", {})
        assert await picker.metric("extproc_requests_total") == 7
