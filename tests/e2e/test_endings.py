"""Requests that end too soon, by whoever's doing: the picker's streams end with them, and the next is served well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, get_args

import pytest
from tests.e2e.http2_client import Http2Client, Stage
from tests.e2e.load import post, run_load
from tests.e2e.modes import PHASES, REQUEST_MODES, Phase, gateway, streams_end
from tests.e2e.picker import Picker
from tests.e2e.upstreams import HeldUpstream, InstantUpstream, ResettingUpstream, Upstream

from extproc.cli.demo.envoy import ISTIO, Envoy, GatewaySettings, ProcessingMode

PATH = "/v1/completions"
SMALL = b'{"model": "llama", "prompt": "Hello"}'
LARGE = b'{"model": "llama", "prompt": "' + b"p" * 1_000_000 + b'"}'
STAGES: tuple[Stage, ...] = get_args(Stage)
COUNT = 10
GATEWAYS_OWN = ("answered_by_gateway", "cancelled")


@asynccontextmanager
async def istio(upstream: Upstream) -> AsyncIterator[tuple[Envoy, Picker]]:
    async with AsyncExitStack() as stack:
        picker = await stack.enter_async_context(Picker({"only": upstream.address}))
        settings = GatewaySettings(
            endpoints=(upstream.address,), picker=picker.address, pick_from="metadata", processing_mode=ISTIO
        )
        yield await stack.enter_async_context(Envoy(settings)), picker


@pytest.mark.parametrize(
    ("mode", "phase"),
    [
        ("full duplex", "detach"),
        ("Istio's", "detach"),
        ("buffered", "detach"),
        ("streamed, no wait", "detach"),
        ("full duplex", "observe"),
        ("buffered", "observe"),
    ],
)
async def test_clients_that_go_away_at_every_stage(mode: str, phase: Phase) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(HeldUpstream())
        endpoints = {"only": upstream.address}
        site = istio(upstream) if mode == "Istio's" else gateway(REQUEST_MODES[mode], phase, endpoints)
        envoy, picker = await stack.enter_async_context(site)
        for stage in STAGES:
            body = LARGE if stage in ("after the headers", "amid the body") else SMALL
            async with Http2Client(envoy.port) as client:
                asked = [client.request("POST", PATH, {}, body, abort_at=stage) for _ in range(COUNT)]
                answers = await asyncio.gather(*asked)
            assert {answer.error for answer in answers} == {"aborted"}, stage
            await streams_end(picker)
            await upstream.changes.until(lambda: upstream.open_answers == 0)

            following = asyncio.create_task(run_load(envoy.port, 1, 1, lambda _: post(LARGE)))
            await upstream.changes.until(lambda: upstream.open_answers == 1)
            upstream.release()
            [outcome] = await following
            assert (outcome.status, outcome.whole) == (200, True), (stage, outcome)
            await streams_end(picker)
        routed = await picker.metric("extproc_requests_total", outcome="routed")
        assert COUNT + len(STAGES) <= routed <= 2 * COUNT + len(STAGES)
        assert await picker.metric("extproc_requests_total") <= COUNT * len(STAGES) + len(STAGES)
        assert await picker.metric("extproc_endpoint_inflight") == 0
        assert "Traceback" not in picker.log_text()


@pytest.mark.parametrize("is_amid", [False, True], ids=["before the response", "amid the response"])
@pytest.mark.parametrize("phase", PHASES)
async def test_an_upstream_that_resets(phase: Phase, is_amid: bool) -> None:
    """The client sees what Envoy makes of it in every phase: 503 before the response, amid it a cut one."""
    async with AsyncExitStack() as stack:
        engine = ResettingUpstream("amid the response" if is_amid else "before the response")
        await stack.enter_async_context(engine)
        site = gateway(REQUEST_MODES["full duplex"], phase, {"only": engine.address})
        envoy, picker = await stack.enter_async_context(site)
        client = await stack.enter_async_context(Http2Client(envoy.port))
        streams = [await client.open("POST", PATH) for _ in range(COUNT)]
        for stream in streams:
            await stream.send(SMALL)
            await stream.end()
        if is_amid:
            for stream in streams:
                await stream.first_bytes()
            engine.reset_all()
        answers = [await stream.answer() for stream in streams]
        if is_amid:
            assert {(each.status, each.error != "") for each in answers} == {(200, True)}
            assert all(0 < len(each.body) < len(engine.body) for each in answers)
        else:
            assert {(each.status, each.error) for each in answers} == {(503, "")}
            assert all("x-served-by" not in each.headers for each in answers)
        assert engine.resets == COUNT
        await streams_end(picker)
        assert await picker.metric("extproc_requests_total", outcome="routed") == COUNT
        assert await picker.metric("extproc_requests_total") == COUNT
        assert await picker.metric("extproc_endpoint_inflight") == 0
        assert "Traceback" not in picker.log_text()


WATCHED = ProcessingMode(
    request_body="STREAMED", response_headers="SEND", response_body="STREAMED", response_trailers="SEND"
)


@asynccontextmanager
async def watching(upstream: Upstream, *, failure_mode_allow: bool = False) -> AsyncIterator[tuple[Envoy, Picker]]:
    """A gateway that only shows the picker what passes, and asks it nothing."""
    async with AsyncExitStack() as stack:
        picker = await stack.enter_async_context(Picker({"only": upstream.address}))
        # Open streams end sooner than after their usual five seconds.
        ext_proc: dict[str, Any] = {
            "observability_mode": True,
            "deferred_close_timeout": "0.2s",
            "failure_mode_allow": failure_mode_allow,
        }
        settings = GatewaySettings(
            endpoints=(upstream.address,), picker=picker.address, processing_mode=WATCHED, ext_proc=ext_proc
        )
        yield await stack.enter_async_context(Envoy(settings)), picker


async def test_a_picker_that_only_watches_harms_no_request() -> None:
    """Requests of every kind succeed, those that it would refuse among them: they are not asked about."""
    bodies = [SMALL, b"no JSON", b'{"model": "nobody"}', LARGE]
    async with InstantUpstream(body_bytes=100_000, early=False) as upstream, watching(upstream) as (envoy, picker):
        requests = [post(body) for body in bodies] + [b"GET /version HTTP/1.1\r\nhost: gateway\r\n\r\n"]
        outcomes = await run_load(envoy.port, 100, 8, lambda index: requests[index % 5], body_bytes=100_000)
        assert {(each.status, each.whole, each.served_by) for each in outcomes} == {(200, True, upstream.address)}
        await picker.wait_for_metric("extproc_requests_total", 100, outcome="watched")
        await streams_end(picker)
        assert await picker.metric("extproc_stream_messages_total", direction="out") == 0
        assert await picker.metric("extproc_stream_messages_total", direction="in", kind="response_body") >= 100
        assert "Traceback" not in picker.log_text()


@pytest.mark.parametrize("is_open", [True, False], ids=["failure mode open", "failure mode closed"])
async def test_a_watching_picker_is_killed_amid_answers(is_open: bool) -> None:
    """With `failure_mode_allow` no request notices. Without it Envoy cuts the answers in flight, and refuses others."""
    upstream = HeldUpstream()
    async with upstream, watching(upstream, failure_mode_allow=is_open) as (envoy, picker):
        requests = [asyncio.create_task(run_load(envoy.port, 50, 50, lambda _: post(SMALL)))]
        await upstream.changes.until(lambda: upstream.open_answers == 50)
        await picker.wait_for_metric("extproc_stream_messages_total", 50, direction="in", kind="response_body")
        await picker.kill()
        if is_open:
            requests.append(asyncio.create_task(run_load(envoy.port, 50, 50, lambda _: post(SMALL))))
            await upstream.changes.until(lambda: upstream.open_answers == 100)
            upstream.release()
        else:
            await upstream.changes.until(lambda: upstream.open_answers == 0)
            requests.append(asyncio.create_task(run_load(envoy.port, 50, 50, lambda _: post(SMALL))))
        before, after = await asyncio.gather(*requests)
        outcomes = [{(each.status, each.whole) for each in each_load} for each_load in (before, after)]
        assert outcomes == ([{(200, True)}, {(200, True)}] if is_open else [{(200, False)}, {(503, True)}])


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", ["full duplex", "buffered", "streamed, no wait"])
async def test_what_envoy_answers_itself_reaches_the_client(mode: str, phase: Phase) -> None:
    """A 413 beyond its buffer, a 408 for a slow upload: with the response shown they pass through the picker."""
    engine = InstantUpstream(early=False)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(engine)
        site = gateway(
            REQUEST_MODES[mode],
            phase,
            {"only": engine.address},
            buffer_limit_bytes=200_000,
            connection_manager={"request_timeout": "1s"},
        )
        envoy, picker = await stack.enter_async_context(site)
        if mode == "buffered":
            [outcome] = await run_load(envoy.port, 1, 1, lambda _: post(LARGE))
            assert outcome.status == 413
        async with Http2Client(envoy.port) as client:
            stream = await client.open("POST", PATH)
            await stream.send(SMALL[:10])
            assert (await stream.head()).status == 408
        [outcome] = await run_load(envoy.port, 1, 1, lambda _: post(SMALL))
        assert (outcome.status, outcome.whole) == (200, True)
        await streams_end(picker)
        assert await picker.metric("extproc_requests_total", outcome="aborted") == 0
        if phase != "detach":
            # Envoy 1.36 does not show its own answers: it resets the stream.
            counts = [await picker.metric("extproc_requests_total", outcome=name) for name in GATEWAYS_OWN]
            assert sum(counts) >= 1
        assert "Traceback" not in picker.log_text()
