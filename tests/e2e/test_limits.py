"""Bodies over a limit get the picker's own 413 or 429, in every mode and whoever goes on sending; nothing leaks."""

import asyncio
import gzip
import io
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack

import aiohttp
import pytest
from tests.e2e.http2_client import Answer, Http2Client, Http2Stream
from tests.e2e.modes import REQUEST_MODES, RequestMode, gateway, streams_end
from tests.e2e.picker import Picker
from tests.e2e.upstreams import InstantUpstream

PATH = "/v1/completions"
MIB = 1 << 20
LIMIT = 1 * MIB


def body_of(size: int) -> bytes:
    """A good request of exactly `size` bytes."""
    start, end = b'{"model": "llama", "prompt": "', b'"}'
    return start + b"p" * (size - len(start) - len(end)) + end


def assert_refused(status: int, headers: Mapping[str, str], body: bytes, *, code: str, want: int) -> None:
    assert (status, headers.get("x-extproc-reason")) == (want, code), body[:300]
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["code"] == code


@pytest.mark.parametrize("mode", REQUEST_MODES.values(), ids=REQUEST_MODES)
async def test_a_body_over_the_limit(mode: RequestMode) -> None:
    """20 MB where 1 MiB is the limit, from a client of HTTP/1.1 and from one of HTTP/2 that sends it to its end.

    In the mode that shows no body there is none to be over a limit.
    """
    large = body_of(20_000_000)
    headers = mode.headers("llama")
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=False))
        config = {"requests": {"maxBodyBytes": LIMIT}}
        site = gateway(mode, "detach", {"only": upstream.address}, config=config)
        envoy, picker = await stack.enter_async_context(site)
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        http2 = await stack.enter_async_context(Http2Client(envoy.port))
        answers: list[tuple[int, Mapping[str, str], bytes]] = []
        for _ in range(2):
            async with http.post(PATH, data=io.BytesIO(large), headers=headers) as response:
                answers.append((response.status, response.headers, await response.read()))
            answer = await http2.request("POST", PATH, headers, large)
            assert answer.error == ""
            answers.append((answer.status, answer.headers, answer.body))
        if mode.names_model_in_header:
            assert {status for status, *_ in answers} == {200}
            assert upstream.received_bytes == 4 * len(large)
        else:
            for answer_status, answer_headers, body in answers:
                assert_refused(answer_status, answer_headers, body, code="request_too_large", want=413)
            assert upstream.received_bytes == 0
            assert await picker.metric("extproc_requests_total", outcome="request_too_large") == 4
        # At the limit it passes, so the limit is the only reason.
        async with http.post(PATH, data=io.BytesIO(body_of(LIMIT)), headers=headers) as response:
            assert response.status == 200
        await streams_end(picker)
        assert "Traceback" not in picker.log_text()


@pytest.mark.parametrize("mode", ["full duplex", "streamed, no wait"])
async def test_uploads_that_would_hold_too_much_together(mode: str) -> None:
    """Three uploads of 1 MiB stay open where 4 MiB may be held: 2 MiB more is a 429, and a body of 4 MiB passes after.

    They end in three ways: one is served, its client drops another, the third is refused as no JSON.
    """
    held = 4 * MIB
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=False))
        config = {"requests": {"maxHeldBytes": held}}
        site = gateway(REQUEST_MODES[mode], "detach", {"only": upstream.address}, config=config, message_timeout_s=60)
        envoy, picker = await stack.enter_async_context(site)
        client = await stack.enter_async_context(Http2Client(envoy.port))
        for _ in range(3):
            uploads, answer = await _fill(client, picker)
            assert_refused(answer.status, answer.headers, answer.body, code="overloaded", want=429)
            assert int(answer.headers["retry-after"]) > 0
            served, dropped, refused = uploads
            await served.end()
            assert (await served.answer()).status == 200
            await dropped.reset()
            await refused.end()
            assert (await refused.answer()).status == 400
            await streams_end(picker)
            # Passes only if not a byte is counted as held any more.
            answer = await client.request("POST", PATH, {}, body_of(held))
            assert answer.status == 200, answer.body[:300]
            answer = await client.request("POST", PATH, {}, body_of(held + 1))
            assert answer.status == 429
            await streams_end(picker)
        assert "Traceback" not in picker.log_text()


async def _fill(client: Http2Client, picker: Picker) -> tuple[list[Http2Stream], Answer]:
    """Three uploads that stay open, and the answer to one that is too much beside them.

    Nobody tells when they have reached the picker. One that overtakes them gets in and may keep out one of them, which
    is read to its end before it is told so: then all of it begins anew.
    """
    async with asyncio.timeout(30):
        while True:
            uploads: list[Http2Stream] = []
            for piece in (body_of(MIB), body_of(MIB), b"x" * MIB):
                uploads.append(await client.open("POST", PATH))
                await uploads[-1].send(piece)
            for _ in range(20):
                answer = await client.request("POST", PATH, {}, body_of(2 * MIB))
                if answer.status != 200:
                    return uploads, answer
            for upload in uploads:
                if not upload.is_over:
                    await upload.reset()
            await streams_end(picker)


@pytest.mark.parametrize("mode", ["full duplex", "buffered"])
async def test_a_small_body_that_inflates_over_the_limit(mode: str) -> None:
    bomb = gzip.compress(body_of(20_000_000))
    good = gzip.compress(body_of(LIMIT))
    assert len(bomb) < 30_000
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=False))
        config = {"requests": {"maxBodyBytes": LIMIT}}
        site = gateway(REQUEST_MODES[mode], "detach", {"only": upstream.address}, config=config)
        envoy, picker = await stack.enter_async_context(site)
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        headers = {"content-encoding": "gzip"}
        for _ in range(5):
            async with http.post(PATH, data=bomb, headers=headers) as response:
                body = await response.read()
                assert_refused(response.status, response.headers, body, code="request_too_large", want=413)
        assert upstream.received_bytes == 0
        async with http.post(PATH, data=good, headers=headers) as response:
            assert response.status == 200
        assert upstream.received_bytes == len(good)
        await streams_end(picker)


async def test_one_chunk_as_large_as_the_listeners_buffer() -> None:
    """A filter before ext_proc holds the body until it is whole: then it comes here in one piece, of 27 MB."""
    large = body_of(27_000_000)
    buffer_filter = {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 32 * MIB,
        },
    }
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=False))
        config = {"requests": {"maxBodyBytes": 64 * MIB}}
        site = gateway(
            REQUEST_MODES["full duplex"],
            "detach",
            {"only": upstream.address},
            config=config,
            buffer_limit_bytes=32 * MIB,
            filters=[buffer_filter],
        )
        envoy, picker = await stack.enter_async_context(site)
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        async with http.post(PATH, data=io.BytesIO(large)) as response:
            assert response.status == 200, await response.text()
        assert upstream.received_bytes == len(large)
        assert await picker.metric("extproc_stream_messages_total", direction="in", kind="request_body") <= 2
        await streams_end(picker)
