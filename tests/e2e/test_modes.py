"""Every body mode and every way of following the response, through a real Envoy: routed, unchanged, whole."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
import pytest
from tests.e2e.modes import PHASES, REQUEST_MODES, Phase, RequestMode, gateway
from tests.e2e.picker import Picker

from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI, GEMMA = "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "20 MB": 20_000_000}


class Site(NamedTuple):
    """A gateway in one mode, the picker behind it, and two servers of two models."""

    sims: dict[str, SimServer]
    picker: Picker
    http: aiohttp.ClientSession

    def wrong_pods(self) -> int:
        return sum(sim.engine.wrong_model for sim in self.sims.values())


@asynccontextmanager
async def serve(mode: RequestMode, phase: Phase) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = {
            name: SimServer(EngineSettings(name=name, models=(model,), time_to_first_token_s=0.0, token_delay_s=0.0))
            for name, model in (("phi", PHI), ("gemma", GEMMA))
        }
        for sim in sims.values():
            await stack.enter_async_context(sim)
        addresses = {name: sim.address for name, sim in sims.items()}
        envoy, picker = await stack.enter_async_context(gateway(mode, phase, addresses))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(sims, picker, http)


def chat(model: str, *, size: int = 0, stream: bool = False, model_last: bool = False) -> bytes:
    name, content = {"model": model}, [{"role": "user", "content": "x" * size}]
    body = {"messages": content, "max_tokens": 8, "stream": stream}
    return json.dumps({**body, **name} if model_last else {**name, **body}).encode()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", REQUEST_MODES.values(), ids=REQUEST_MODES)
async def test_every_mode(mode: RequestMode, phase: Phase) -> None:
    async with serve(mode, phase) as site:
        for size in SIZES.values():
            for stream in (False, True):
                for _ in range(2):
                    body = chat(PHI, size=size, stream=stream, model_last=mode.body != "BUFFERED_PARTIAL")
                    request = site.http.post("/v1/chat/completions", data=io.BytesIO(body), headers=mode.headers(PHI))
                    async with request as response:
                        text = await response.text()
                    case = (size, stream, text[:300], site.picker.log_text())
                    assert response.status == 200, case
                    assert response.headers["x-served-by"] == "phi", case
                    assert response.headers["x-received-body-bytes"] == str(len(body)), case
                    assert response.headers["x-received-body-sha256"] == hashlib.sha256(body).hexdigest(), case
                    if stream:
                        assert text.endswith("data: [DONE]\n\n"), case
                    else:
                        assert json.loads(text)["usage"]["completion_tokens"] == 8, case
        async with site.http.get("/v1/models") as response:
            assert [entry["id"] for entry in (await response.json())["data"]] == [GEMMA, PHI]
        async with site.http.get("/health") as response:
            assert response.status == 200
        assert site.wrong_pods() == 0
        requests = len(SIZES) * 2 * 2 + 1
        seen = await site.picker.metric("extproc_stream_messages_total", direction="in", kind="response_headers")
        assert seen == (0 if phase == "detach" else requests)
        pieces = await site.picker.metric("extproc_stream_messages_total", direction="in", kind="response_body")
        assert (pieces > 0) == (phase == "observe")
        assert await site.picker.metric("extproc_streams") == 0
        assert "Traceback" not in site.picker.log_text()
