"""A picker that has answered is out of the way: killing it touches no answer that still streams."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.e2e.load import post, run_load
from tests.e2e.picker import Picker
from tests.e2e.upstreams import StreamingUpstream

from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings, ProcessingMode

CHAT = post(b'{"model": "llama", "stream": true}')


@pytest.mark.parametrize("mode", [ISTIO, DETACHED], ids=["Istio's settings", "no response phase"])
async def test_answers_survive_the_picker(mode: ProcessingMode) -> None:
    """SIGKILL while 50 answers stream, each of which takes two seconds: all 50 arrive whole."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(StreamingUpstream(chunks=100, delay_s=0.02))
        picker = await stack.enter_async_context(Picker({"only": upstream.address}))
        settings = GatewaySettings(
            endpoints=(upstream.address,), picker=picker.address, pick_from="metadata", processing_mode=mode
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        load = asyncio.create_task(run_load(envoy.port, 50, 50, lambda _: CHAT, body_bytes=len(upstream.body)))
        while (await picker.metric("extproc_requests_total", outcome="routed")) < 50:
            assert not load.done()
        assert upstream.served == 0
        await picker.kill()
        outcomes = await load
        [afterwards] = await run_load(envoy.port, 1, 1, lambda _: CHAT)
    assert [outcome.whole for outcome in outcomes] == [True] * 50
    assert {outcome.status for outcome in outcomes} == {200}
    assert afterwards.status == 503
