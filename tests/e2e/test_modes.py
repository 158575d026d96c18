"""Every body mode and every way of following the response, through a real Envoy: routed, unchanged, whole."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

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
async def serve(mode: RequestMode, phase: Phase, **settings: Any) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = {
            name: SimServer(EngineSettings(name=name, models=(model,), time_to_first_token_s=0.0, token_delay_s=0.0))
            for name, model in (("phi", PHI), ("gemma", GEMMA))
        }
        for sim in sims.values():
            await stack.enter_async_context(sim)
        addresses = {name: sim.address for name, sim in sims.items()}
        envoy, picker = await stack.enter_async_context(gateway(mode, phase, addresses, **settings))
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
        await site.picker.wait_for_metric("extproc_streams", 0)  # the client has its answer before the stream ends
        assert "Traceback" not in site.picker.log_text()


@pytest.mark.parametrize("mode", REQUEST_MODES.values(), ids=REQUEST_MODES)
async def test_every_mode_read_from_the_metadata(mode: RequestMode) -> None:
    async with serve(mode, "detach", pick_from="metadata") as site:
        for model, name in ((PHI, "phi"), (GEMMA, "gemma")) * 3:
            request = site.http.post("/v1/chat/completions", data=chat(model), headers=mode.headers(model))
            async with request as response:
                assert (response.status, response.headers["x-served-by"]) == (200, name), await response.text()
        assert site.wrong_pods() == 0


CANNOT_WORK = {
    "streamed": (RequestMode("STREAMED"), "send_body_without_waiting_for_header_response"),
    "none": (RequestMode("NONE"), "X-Gateway-Model-Name"),
}


@pytest.mark.parametrize(("mode", "setting"), CANNOT_WORK.values(), ids=CANNOT_WORK)
async def test_a_mode_that_cannot_work_is_refused_by_name_and_reaches_no_pod(mode: RequestMode, setting: str) -> None:
    async with serve(mode, "detach") as site:
        for _ in range(4):
            async with site.http.post("/v1/chat/completions", data=chat(PHI)) as response:
                assert response.status == 500
                assert response.headers["x-extproc-reason"] == "unsupported_mode"
                assert setting in await response.text()
        async with site.http.get("/v1/models") as response:
            assert response.status == 200, "what has no body works all the same"
        assert sum(sim.engine.wrong_model for sim in site.sims.values()) == 0


@pytest.mark.parametrize("phase", PHASES)
async def test_a_body_above_the_buffer_is_routed_by_its_beginning_or_not_at_all(phase: Phase) -> None:
    """In BUFFERED_PARTIAL; the model stands first, or behind what is shown."""
    async with serve(REQUEST_MODES["buffered partial"], phase, buffer_limit_bytes=100_000) as site:
        for model, name in ((PHI, "phi"), (GEMMA, "gemma")) * 3:
            body = chat(model, size=5_000_000)
            async with site.http.post("/v1/chat/completions", data=io.BytesIO(body)) as response:
                assert (response.status, response.headers["x-served-by"]) == (200, name), await response.text()
                assert response.headers["x-received-body-sha256"] == hashlib.sha256(body).hexdigest()
        body = chat(PHI, size=5_000_000, model_last=True)
        async with site.http.post("/v1/chat/completions", data=io.BytesIO(body)) as response:
            assert response.status == 500
            assert "per_connection_buffer_limit_bytes" in await response.text()
        assert site.wrong_pods() == 0
