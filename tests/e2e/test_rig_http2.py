"""The rig's HTTP/2 tells the truth: trailers are seen where they arrive, resets where they happen, at either end."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple

import aiohttp
import pytest
from tests.e2e.http2_client import Answer, Http2Client, Stage
from tests.e2e.http2_upstream import Http2Upstream
from tests.e2e.upstreams import EarlyRefusal, HeldUpstream, InstantUpstream, ResettingUpstream

from extproc.cli.demo.envoy import Envoy, GatewaySettings

BODY = b"p" * 3_000_000
TRAILERS = {"x-checksum": "abc", "x-second": "2"}


class Site(NamedTuple):
    """A client's connection to an Envoy before an upstream that tells what it saw."""

    upstream: Http2Upstream
    envoy: Envoy
    client: Http2Client


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Http2Upstream(trailers={"x-end": "yes"}))
        settings = GatewaySettings(endpoints=[upstream.address], endpoints_http2=True)
        envoy = await stack.enter_async_context(Envoy(settings))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        yield Site(upstream, envoy, client)


@pytest.mark.parametrize(
    ("body", "trailers"),
    [(b"", None), (b"p", None), (BODY, None), (BODY, TRAILERS), (b"", TRAILERS)],
    ids=["nothing", "a byte", "a body", "a body and trailers", "trailers alone"],
)
async def test_body_and_trailers_arrive_and_so_do_the_answers(
    site: Site, body: bytes, trailers: dict[str, str] | None
) -> None:
    answer = await site.client.request("POST", "/a/path", {"x-some": "header"}, body, trailers=trailers)
    assert (answer.status, answer.trailers, answer.error) == (200, {"x-end": "yes"}, "")
    assert answer.headers["x-served-by"] == site.upstream.address
    assert json.loads(answer.body) == {
        "method": "POST",
        "path": "/a/path",
        "body_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "trailers": trailers or {},
    }


async def test_many_streams_share_a_connection(site: Site) -> None:
    bodies = [bytes([index]) * 400_000 for index in range(20)]
    answers = await asyncio.gather(*(site.client.request("POST", "/", body=body) for body in bodies))
    digests = [json.loads(answer.body)["sha256"] for answer in answers]
    assert digests == [hashlib.sha256(body).hexdigest() for body in bodies]
    assert await site.envoy.stats("http.gateway.downstream_cx_http2_total") == {
        "http.gateway.downstream_cx_http2_total": 1
    }


async def test_an_http2_upstream_lists_its_models_over_http1(site: Site) -> None:
    async with aiohttp.ClientSession(f"http://{site.upstream.address}") as http:
        async with http.get("/v1/models") as response:
            assert [entry["id"] for entry in (await response.json())["data"]] == ["llama"]
        async with http.post("/v1/chat/completions", data=b"x") as response:
            assert response.status == 505


@pytest.mark.parametrize("stage", ["after the headers", "amid the body"])
async def test_an_abort_before_the_end_reaches_the_upstream(site: Site, stage: Stage) -> None:
    stream = await site.client.open("POST", "/")
    if stage == "amid the body":
        await stream.send(BODY)
        await site.upstream.changes.until(lambda: site.upstream.received_bytes == len(BODY))
    await site.upstream.changes.until(lambda: site.upstream.open_requests == 1)
    await stream.reset()
    await site.upstream.changes.until(lambda: site.upstream.open_requests == 0)
    assert await stream.answer() == Answer(error="aborted")
    assert (site.upstream.resets, site.upstream.served) == (1, 0)
    after = await site.client.request("GET", "/")
    assert after.status == 200, "the connection is good for the next stream"


@pytest.mark.parametrize("stage", ["after the headers", "amid the body", "after the body"])
async def test_a_request_aborts_itself_at_a_stage(site: Site, stage: Stage) -> None:
    assert await site.client.request("POST", "/", body=BODY, abort_at=stage) == Answer(error="aborted")
    assert (await site.client.request("GET", "/")).status == 200


@pytest.mark.parametrize("stage", ["after the body", "amid the response"])
async def test_a_held_upstream_sees_that_the_client_is_gone(stage: Stage) -> None:
    async with HeldUpstream(sends_head=stage == "amid the response") as upstream, AsyncExitStack() as stack:
        envoy = await stack.enter_async_context(Envoy(GatewaySettings(endpoints=[upstream.address])))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        stream = await client.open("POST", "/")
        await stream.send(b"p")
        await stream.end()
        await upstream.changes.until(lambda: upstream.open_answers == 1)
        if stage == "amid the response":
            assert (await stream.first_bytes()).body == upstream.body[:6]
        await stream.reset()
        await upstream.changes.until(lambda: upstream.open_answers == 0)
        answer = await stream.answer()
        assert (answer.status, answer.error) == (200 if stage == "amid the response" else 0, "aborted")
        assert (upstream.abandoned, upstream.served) == (1, 0)


async def test_a_lost_connection_ends_its_answers() -> None:
    async with HeldUpstream() as upstream, Envoy(GatewaySettings(endpoints=[upstream.address])) as envoy:
        async with Http2Client(envoy.port) as client:
            streams = [await client.open("GET", "/", has_body=False) for _ in range(3)]
            await upstream.changes.until(lambda: upstream.open_answers == 3)
            await client.abort()
            assert [(await stream.answer()).error for stream in streams] == ["connection lost"] * 3
        await upstream.changes.until(lambda: upstream.abandoned == 3)


@pytest.mark.parametrize("sends_head", [True, False], ids=["streaming", "silent"])
async def test_held_answers_are_counted_at_each_moment(sends_head: bool) -> None:
    async with HeldUpstream(sends_head=sends_head) as upstream, AsyncExitStack() as stack:
        envoy = await stack.enter_async_context(Envoy(GatewaySettings(endpoints=[upstream.address])))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        requests = [asyncio.create_task(client.request("POST", "/", body=b"p")) for _ in range(5)]
        await upstream.changes.until(lambda: upstream.open_answers == 5)
        upstream.release(2)
        assert (upstream.open_answers, upstream.most_open, upstream.served) == (3, 5, 2)
        upstream.release()
        answers = await asyncio.gather(*requests)
        assert {(answer.status, answer.body, answer.error) for answer in answers} == {(200, upstream.body, "")}
        assert (upstream.open_answers, upstream.served, upstream.abandoned) == (0, 5, 0)


async def test_a_reset_before_the_response_is_a_503_and_one_amid_it_a_cut_200() -> None:
    async with AsyncExitStack() as stack:
        early = await stack.enter_async_context(ResettingUpstream("before the response"))
        late = await stack.enter_async_context(ResettingUpstream("amid the response"))
        answers = []
        for upstream in (early, late):
            envoy = await stack.enter_async_context(Envoy(GatewaySettings(endpoints=[upstream.address])))
            client = await stack.enter_async_context(Http2Client(envoy.port))
            stream = await client.open("GET", "/", has_body=False)
            if upstream is late:
                await stream.first_bytes()
                assert upstream.half_answered == 1
                upstream.reset_all()
            answers.append(await stream.answer())
    assert (answers[0].status, answers[0].error, early.resets) == (503, "", 1)
    assert b"reset" in answers[0].body
    assert (answers[1].status, answers[1].body, late.resets) == (200, late.body[:500], 1)
    assert answers[1].error.startswith("reset: ")


async def test_a_reset_by_one_upstream_is_retried_on_another() -> None:
    async with ResettingUpstream("before the response") as bad, InstantUpstream(early=False) as good:
        settings = GatewaySettings(endpoints=[bad.address, good.address], retries=1)
        async with Envoy(settings) as envoy, Http2Client(envoy.port) as client:
            answers = [await client.request("POST", "/", body=b"p") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert good.served == 4
    assert bad.resets >= 1


@pytest.mark.parametrize("stage", ["before the response", "amid the response"])
async def test_a_reset_is_a_reset_and_not_an_end(stage: Literal["before the response", "amid the response"]) -> None:
    async with ResettingUpstream(stage) as upstream:
        host, _, port = upstream.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        if stage == "amid the response":
            await upstream.changes.until(lambda: upstream.half_answered == 1)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(500) == upstream.body[:500]
            upstream.reset_all()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()


async def test_an_answer_before_the_bodys_end_is_read_whole() -> None:
    async with EarlyRefusal() as upstream, Envoy(GatewaySettings(endpoints=[upstream.address])) as envoy:
        async with Http2Client(envoy.port) as client:
            stream = await client.open("POST", "/")
            assert (await stream.head()).status == 401
            answer = await stream.answer()
            await stream.send(BODY)  # goes nowhere
            assert (answer.body, answer.error) == (upstream.body, "")
            assert (await client.request("POST", "/", body=BODY)).status == 401
