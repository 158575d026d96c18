"""A decision that hangs ends with an answer of the picker's own, in every mode, before Envoy loses its patience."""

import asyncio
from contextlib import AsyncExitStack

import aiohttp
import pytest
from tests.e2e.modes import REQUEST_MODES, RequestMode, gateway, streams_end
from tests.e2e.upstreams import Exchange, InstantUpstream

CONFIG = {
    "requests": {"hold": "1h"},
    "envoy": {"decisionTimeout": "500ms", "messageTimeout": "3h"},
    "probes": {"models": {"firstAnswerBudget": "100ms", "timeout": "1h"}},
}


class SilentUpstream(InstantUpstream):
    """Takes connections and never says which model it serves."""

    def list_models(self, exchange: Exchange) -> None:
        pass


@pytest.mark.parametrize("mode", REQUEST_MODES.values(), ids=REQUEST_MODES)
async def test_the_client_is_told_by_the_picker(mode: RequestMode) -> None:
    """Nobody lists the model, and one endpoint has not said what it lists: each request waits for it."""
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(InstantUpstream())
        silent = await stack.enter_async_context(SilentUpstream())
        endpoints = {"good": good.address, "silent": silent.address}
        envoy, picker = await stack.enter_async_context(gateway(mode, "detach", endpoints, config=CONFIG))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))

        async def ask(method: str, path: str, data: bytes | None) -> tuple[int, str | None, str]:
            async with http.request(method, path, data=data, headers=mode.headers("nobody")) as response:
                error = (await response.json())["error"]
                return response.status, response.headers["x-extproc-reason"], error["code"]

        asked = [
            ask("POST", "/v1/completions", b'{"model": "nobody"}'),
            ask("POST", "/v1/completions", b'{"model": "nobody", "prompt": "' + b"p" * 300_000 + b'"}'),
            ask("GET", "/v1/models/nobody", None),
        ]
        for answer in await asyncio.gather(*asked):
            assert answer == (503, "decision_timeout", "decision_timeout")
        assert await picker.metric("extproc_requests_total", outcome="decision_timeout") == len(asked)
        async with http.post("/v1/completions", data=b'{"model": "llama"}', headers=mode.headers("llama")) as response:
            assert (response.status, response.headers["x-served-by"]) == (200, good.address)
        await streams_end(picker)
        assert good.served == 1
        assert "Traceback" not in picker.log_text()
