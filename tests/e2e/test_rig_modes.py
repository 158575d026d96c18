"""A gateway's settings do what they say: what a picker is sent in each mode, which one is asked, what a hop changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingMode as ModeOverride,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    BodyResponse,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from tests.e2e.http2_client import Answer, Http2Client
from tests.e2e.http2_upstream import Http2Upstream
from tests.e2e.scripted_picker import ScriptedPicker, SeenStream, echo, pass_on
from tests.e2e.upstreams import HeldUpstream, InstantUpstream, Upstream

from extproc.cli.demo.envoy import (
    DETACHED,
    TRACKING,
    Envoy,
    GatewaySettings,
    ProcessingMode,
    envoy_config,
    hop_config,
)

BODY = b"p" * 100_000
TRAILERS = {"x-checksum": "abc"}


async def ask(
    picker: ScriptedPicker, upstream: Upstream, mode: ProcessingMode, ext_proc: Mapping[str, object] | None = None
) -> tuple[Answer, SeenStream]:
    """One POST with a body through an Envoy; its answer, and the picker's stream once its end was seen there."""
    settings = GatewaySettings(
        endpoints=[upstream.address], picker=picker.address, processing_mode=mode, ext_proc=ext_proc or {}
    )
    async with Envoy(settings) as envoy, Http2Client(envoy.port) as client:
        answer = await client.request("POST", "/", body=BODY)
        await picker.changes.until(lambda: any(stream.is_over or stream.has_body for stream in picker.streams))
    [stream] = picker.streams
    return answer, stream


class Holding:
    """Answers nothing until the body is whole, then the headers and every chunk."""

    def __init__(self) -> None:
        self._chunks = 0

    def __call__(self, kind: str, message: ProcessingRequest) -> Sequence[ProcessingResponse]:
        self._chunks += message.request_body is not None
        if message.request_body is None or not message.request_body.end_of_stream:
            return []
        chunks = [ProcessingResponse(request_body=BodyResponse()) for _ in range(self._chunks)]
        return [ProcessingResponse(request_headers=HeadersResponse()), *chunks]


async def test_the_body_comes_early_only_where_the_filter_says_so() -> None:
    early = ProcessingMode(request_body="STREAMED", request_trailers="SKIP", sends_body_early=True)
    late = replace(early, sends_body_early=False, message_timeout_s=0.2)
    outcomes = []
    for mode in (early, late):
        async with InstantUpstream(early=False) as upstream, ScriptedPicker(Holding()) as picker:
            answer, stream = await ask(picker, upstream, mode)
        config = stream.messages[0].protocol_config
        assert config is not None
        assert config.send_body_without_waiting_for_header_response == mode.sends_body_early
        outcomes.append((answer.status, stream.kinds))
    assert outcomes == [(200, ["request_headers", "request_body"]), (504, ["request_headers"])]


async def test_tracking_keeps_the_stream_until_the_answer_ends_and_sends_none_of_it() -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(HeldUpstream())
        picker = await stack.enter_async_context(ScriptedPicker(echo))
        settings = GatewaySettings(
            endpoints=[upstream.address],
            picker=picker.address,
            processing_mode=TRACKING,
            ext_proc={"response_attributes": ["upstream.address"]},
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        requests = [asyncio.create_task(client.request("POST", "/", body=BODY)) for _ in range(3)]
        await upstream.changes.until(lambda: upstream.open_answers == 3)
        await picker.changes.until(lambda: [stream.kinds[-1] for stream in picker.streams] == ["response_headers"] * 3)
        assert picker.over == 0
        requests.pop().cancel()
        await picker.changes.until(lambda: picker.over == 1)
        upstream.release(1)
        await picker.changes.until(lambda: picker.over == 2)
        upstream.release()
        await picker.changes.until(lambda: picker.over == 3)
        answers = await asyncio.gather(*requests)

    assert [(answer.status, answer.body) for answer in answers] == [(200, upstream.body)] * 2
    assert (upstream.abandoned, upstream.served) == (1, 2)
    for seen in picker.streams:
        assert seen.kinds == ["request_headers", "request_body", "response_headers"]
        attributes = seen.messages[-1].attributes["envoy.filters.http.ext_proc"]
        assert attributes.fields["upstream.address"].string_value == upstream.address


async def test_the_filter_can_let_the_picker_override_the_mode() -> None:
    def override(kind: str, message: ProcessingRequest) -> Sequence[ProcessingResponse]:
        answers = pass_on(kind, message)
        if kind == "request_headers":
            answers[0].mode_override = ModeOverride(
                request_body_mode=ProcessingModeBodySendMode.BUFFERED,
                response_header_mode=ProcessingModeHeaderSendMode.SKIP,
            )
        return answers

    kinds = []
    for is_allowed in (True, False):
        async with InstantUpstream(early=False) as upstream, ScriptedPicker(override) as picker:
            mode = ProcessingMode(request_body="NONE", request_trailers="SKIP")
            answer, stream = await ask(picker, upstream, mode, {"allow_mode_override": is_allowed})
        assert answer.status == 200
        kinds.append(stream.kinds)
    assert kinds == [["request_headers", "request_body"], ["request_headers"]]


@pytest.mark.parametrize(("limit_mib", "status"), [(32, 200), (19, 413)], ids=["under the limit", "over the limit"])
async def test_a_buffered_body_may_be_as_large_as_the_limit_over_http2_too(limit_mib: int, status: int) -> None:
    async with InstantUpstream(early=False) as upstream, ScriptedPicker() as picker, AsyncExitStack() as stack:
        settings = GatewaySettings(
            endpoints=[upstream.address],
            picker=picker.address,
            processing_mode=ProcessingMode(request_body="BUFFERED"),
            buffer_limit_bytes=limit_mib << 20,
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        answer = await client.request("POST", "/", body=bytes(20 << 20))
    assert (answer.status, upstream.served) == (status, status == 200)


async def test_an_observer_is_sent_all_and_decides_nothing() -> None:
    async with InstantUpstream(early=False) as upstream, ScriptedPicker(lambda kind, message: []) as picker:
        mode = ProcessingMode(request_body="STREAMED", request_trailers="SKIP")
        answer, stream = await ask(picker, upstream, mode, {"observability_mode": True})
    assert (answer.status, answer.body, upstream.received_bytes) == (200, upstream.body, len(BODY))
    assert stream.kinds == ["request_headers", "request_body"]
    assert all(message.observability_mode for message in stream.messages)


@pytest.mark.parametrize("through_hop", [False, True], ids=["direct", "through a hop"])
async def test_request_trailers_pass_the_picker_and_a_hop_shows_itself(through_hop: bool) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(Http2Upstream())
        picker = await stack.enter_async_context(ScriptedPicker(echo))
        address = picker.address
        if through_hop:
            hop = await stack.enter_async_context(Envoy(hop_config(picker.address)))
            address = f"127.0.0.1:{hop.port}"
        settings = GatewaySettings(
            endpoints=[upstream.address], endpoints_http2=True, picker=address, processing_mode=TRACKING
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        client = await stack.enter_async_context(Http2Client(envoy.port))
        answer = await client.request("POST", "/", body=BODY, trailers=TRAILERS)
        await picker.changes.until(lambda: picker.streams[0].is_over)

    seen = json.loads(answer.body)
    assert (answer.status, seen["trailers"], seen["body_bytes"]) == (200, TRAILERS, len(BODY))
    assert seen["sha256"] == hashlib.sha256(BODY).hexdigest()
    [stream] = picker.streams
    assert stream.kinds == ["request_headers", "request_body", "request_trailers", "response_headers"]
    assert ("x-envoy-internal" in stream.metadata) is not through_hop
    assert ("x-request-id" in stream.metadata) is through_hop


async def test_a_hop_takes_as_many_streams_at_once_as_its_cluster() -> None:
    async with ScriptedPicker() as picker, Envoy(hop_config(picker.address)) as hop:
        async with Http2Client(hop.port) as client:
            await client.request("GET", "/")
            assert client.connection.remote_settings.max_concurrent_streams == 40_000


async def test_several_pickers_share_the_requests_and_one_that_is_not_ready_gets_none() -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(InstantUpstream(early=False))
        pickers = [await stack.enter_async_context(ScriptedPicker(echo)) for _ in range(3)]
        await pickers[2].set_ready(False)
        settings = GatewaySettings(
            endpoints=[upstream.address], picker=[picker.address for picker in pickers], picker_health_checks=True
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        client = await stack.enter_async_context(Http2Client(envoy.port))

        async def shares() -> list[int]:
            """How many of twelve requests each picker got."""
            before = [len(picker.streams) for picker in pickers]
            for _ in range(12):
                assert (await client.request("POST", "/", body=b"p")).status == 200
            return [len(picker.streams) - count for picker, count in zip(pickers, before, strict=True)]

        assert await shares() == [6, 6, 0]
        await pickers[0].set_ready(False)
        await until_healthy(envoy, 1)
        assert await shares() == [0, 12, 0], "two of three are away, and Envoy still asks the third alone"
        await pickers[0].set_ready(True)
        await pickers[2].set_ready(True)
        await until_healthy(envoy, 3)
        assert await shares() == [4, 4, 4]


async def until_healthy(envoy: Envoy, count: int) -> None:
    """Return once Envoy counts so many pickers as healthy; its statistics can only be asked."""
    async with asyncio.timeout(20):
        while (await envoy.stats("cluster.picker.membership_healthy"))["cluster.picker.membership_healthy"] != count:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("picker", [None, (), []], ids=repr)
def test_without_a_picker_there_is_no_filter_and_no_cluster_for_one(picker: Sequence[str] | None) -> None:
    assert envoy_config(GatewaySettings(endpoints=["127.0.0.1:1"], picker=picker)) == envoy_config(
        GatewaySettings(endpoints=["127.0.0.1:1"])
    )
    assert "ext_proc" not in json.dumps(envoy_config(GatewaySettings(endpoints=["127.0.0.1:1"], picker=picker)))


def test_one_address_may_stand_alone() -> None:
    alone, listed = (
        envoy_config(GatewaySettings(endpoints=["127.0.0.1:1"], picker=picker, processing_mode=DETACHED))
        for picker in ("127.0.0.1:9002", ["127.0.0.1:9002"])
    )
    assert alone == listed


def test_a_hop_needs_an_address() -> None:
    with pytest.raises(ValueError, match="is not ip:port"):
        hop_config("picker")
