"""Every body mode and every way of following the response, through a real Envoy: routed, unchanged, whole."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import aiohttp
import pytest
from tests.e2e.picker import Picker

from extproc.cli.demo.bootstrap import BodyMode
from extproc.cli.demo.envoy import Envoy, GatewaySettings, ProcessingMode
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI, GEMMA = "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "20 MB": 20_000_000}
Phase = Literal["detach", "track", "observe"]


class RequestMode(NamedTuple):
    """How the filter sends requests, and what a request needs in that mode."""

    body: BodyMode
    sends_body_early: bool = False
    ext_proc: dict[str, Any] = {}
    allow_override: bool = False
    headers: dict[str, str] = {}


REQUEST_MODES = {
    "full duplex": RequestMode("FULL_DUPLEX_STREAMED"),
    "buffered": RequestMode("BUFFERED"),
    "buffered partial": RequestMode("BUFFERED_PARTIAL"),
    "streamed, no wait": RequestMode("STREAMED", sends_body_early=True),
    "streamed, overridden": RequestMode("STREAMED", ext_proc={"allow_mode_override": True}, allow_override=True),
    "partial, overridden": RequestMode("BUFFERED_PARTIAL", ext_proc={"allow_mode_override": True}, allow_override=True),
    "none, overridden": RequestMode("NONE", ext_proc={"allow_mode_override": True}, allow_override=True),
    "none, model in a header": RequestMode("NONE", headers={"x-gateway-model-name": PHI}),
}
PHASES: list[Phase] = ["detach", "track", "observe"]


class Site(NamedTuple):
    """A gateway in one mode, the picker behind it, and two servers of two models."""

    sims: dict[str, SimServer]
    picker: Picker
    envoy: Envoy
    http: aiohttp.ClientSession

    def wrong_pods(self) -> int:
        return sum(sim.engine.wrong_model for sim in self.sims.values())


def processing_mode(mode: RequestMode, phase: Phase) -> ProcessingMode:
    """The filter's modes: nothing of the response, its head and end, or all of it."""
    base = ProcessingMode(request_body=mode.body, sends_body_early=mode.sends_body_early)
    if phase == "detach":
        return base
    base = replace(base, response_headers="SEND", response_trailers="SEND")
    if phase == "track":
        return base
    return replace(base, response_body="FULL_DUPLEX_STREAMED" if mode.body == "FULL_DUPLEX_STREAMED" else "STREAMED")


@asynccontextmanager
async def serve(
    mode: RequestMode, phase: Phase, *, config: dict[str, Any] | None = None, **gateway: Any
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = {
            name: SimServer(EngineSettings(name=name, models=(model,), time_to_first_token_s=0.0, token_delay_s=0.0))
            for name, model in (("phi", PHI), ("gemma", GEMMA))
        }
        for sim in sims.values():
            await stack.enter_async_context(sim)
        addresses = {name: sim.address for name, sim in sims.items()}
        envoy_config = {"responsePhase": phase, "allowModeOverride": mode.allow_override, "messageTimeout": "5s"}
        picker = await stack.enter_async_context(
            Picker(addresses, config={"envoy": {**envoy_config, **(config or {})}})
        )
        settings = GatewaySettings(
            endpoints=tuple(addresses.values()),
            picker=picker.address,
            processing_mode=processing_mode(mode, phase),
            ext_proc={"response_attributes": ["upstream.address"], **mode.ext_proc},
            **gateway,
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(sims, picker, envoy, http)


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
                    request = site.http.post("/v1/chat/completions", data=io.BytesIO(body), headers=mode.headers)
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
