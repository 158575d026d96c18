"""The main job through a real Envoy: a request reaches a pod with its model, unchanged, and its answer comes whole."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import aiohttp
import pytest
from tests.e2e.picker import Picker

from extproc.cli.demo.envoy import DETACHED, ISTIO, Envoy, GatewaySettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer

PHI, GEMMA, QWEN = "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it", "Qwen/Qwen2.5-7B"
DESTINATION = "x-gateway-destination-endpoint"
GATEWAYS = {
    "pick from header, no response phase": GatewaySettings(endpoints=(), pick_from="header", processing_mode=DETACHED),
    "pick from metadata, Istio's settings": GatewaySettings(endpoints=(), pick_from="metadata", processing_mode=ISTIO),
}


class Site(NamedTuple):
    """A gateway, the picker behind it, and four servers of three models."""

    sims: dict[str, SimServer]
    picker: Picker
    envoy: Envoy
    http: aiohttp.ClientSession

    def wrong_pods(self) -> int:
        return sum(sim.engine.wrong_model for sim in self.sims.values())


def sims_of(*models: tuple[str, ...]) -> dict[str, SimServer]:
    return {
        f"sim-{index}": SimServer(
            EngineSettings(name=f"sim-{index}", models=served, time_to_first_token_s=0.0, token_delay_s=0.0)
        )
        for index, served in enumerate(models)
    }


@pytest.fixture(params=list(GATEWAYS.values()), ids=list(GATEWAYS))
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sims = sims_of((PHI,), (PHI,), (GEMMA,), (QWEN, PHI))
        for sim in sims.values():
            await stack.enter_async_context(sim)
        addresses = {name: sim.address for name, sim in sims.items()}
        picker = await stack.enter_async_context(Picker(addresses, config={"probes": {"models": {"interval": "1s"}}}))
        settings = GatewaySettings(
            endpoints=tuple(addresses.values()),
            picker=picker.address,
            pick_from=request.param.pick_from,
            processing_mode=request.param.processing_mode,
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        yield Site(sims, picker, envoy, http)


def chat(model: str, *, size: int = 0, stream: bool = False) -> bytes:
    content = "x" * size
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "stream": stream, "model": model}
    return json.dumps(body).encode()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "SSE"])
@pytest.mark.parametrize("size", [1_000, 1_000_000, 20_000_000], ids=["1 KB", "1 MB", "20 MB"])
async def test_every_first_attempt_reaches_a_pod_with_the_model(site: Site, size: int, stream: bool) -> None:
    for model, names in ((PHI, {"sim-0", "sim-1", "sim-3"}), (GEMMA, {"sim-2"}), (QWEN, {"sim-3"})):
        for _ in range(2 if size > 1_000_000 else 10):
            body = chat(model, size=size, stream=stream)
            async with site.http.post("/v1/chat/completions", data=io.BytesIO(body)) as response:
                text = await response.text()
            assert response.status == 200, text
            assert response.headers["x-served-by"] in names
            assert response.headers["x-received-body-bytes"] == str(len(body))
            assert response.headers["x-received-body-sha256"] == hashlib.sha256(body).hexdigest()
            if stream:
                assert text.endswith("data: [DONE]\n\n")
            else:
                assert json.loads(text)["usage"]["completion_tokens"] == 8
    assert site.wrong_pods() == 0
    assert await site.picker.metric("extproc_stream_messages_total", direction="in", kind="response_headers") == 0


async def test_the_model_list_is_one_list_the_union_of_all_pods(site: Site) -> None:
    lists = set()
    for path in ["/v1/models"] * 8 + ["/v1/models?limit=3", "/v1/models/"]:
        async with site.http.get(path) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            lists.add(await response.text())
    assert len(lists) == 1
    entries = json.loads(lists.pop())["data"]
    assert [(entry["id"], entry["endpoints"]) for entry in entries] == [(QWEN, 1), (GEMMA, 1), (PHI, 3)]
    assert entries[2]["root"] == PHI
    assert entries[2]["max_model_len"] == 4096


async def test_head_of_the_list_and_one_model(site: Site) -> None:
    async with site.http.head("/v1/models") as response:
        assert response.status == 200
        assert await response.read() == b""
    for path in (f"/v1/models/{PHI}", "/v1/models/microsoft%2FPhi-3-mini-4k-instruct"):
        async with site.http.get(path) as response:
            assert (await response.json())["id"] == PHI
    async with site.http.get("/v1/models/nothing") as response:
        assert response.status == 404
        assert response.headers["x-extproc-reason"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "param"),
    [
        (chat("phi"), {}, 404, "model_not_found", "model"),
        (chat(PHI.lower()), {}, 404, "model_not_found", "model"),
        (b"{", {}, 400, "invalid_request", None),
        (b"{}", {}, 400, "invalid_request", "model"),
        (b'{"model": 1}', {}, 400, "invalid_request", "model"),
        (b'{"model": ""}', {}, 400, "invalid_request", "model"),
        (b"{}", {"content-encoding": "br"}, 415, "unsupported_encoding", None),
    ],
    ids=["unknown", "other case", "no JSON", "no model", "model a number", "model empty", "encoding"],
)
async def test_a_refusal_is_shaped_like_openais(
    site: Site, body: bytes, headers: dict[str, str], status: int, code: str, param: str | None
) -> None:
    async with site.http.post("/v1/chat/completions", data=body, headers=headers) as response:
        answer = await response.json()
    assert response.status == status
    assert response.headers["x-extproc-reason"] == code
    assert response.content_type == "application/json"
    error = answer["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert "127.0.0.1" not in error["message"]
    if status == 404:
        assert all(name in error["message"] for name in (PHI, GEMMA, QWEN))


async def test_a_destination_from_the_client_never_survives(site: Site) -> None:
    wrong = site.sims["sim-2"].address
    for _ in range(6):
        async with site.http.post("/v1/chat/completions", data=chat(PHI), headers={DESTINATION: wrong}) as response:
            assert response.status == 200
            assert response.headers["x-served-by"] != "sim-2"
            served = site.sims[response.headers["x-served-by"]]
            assert response.headers["x-received-destination"] == served.address
    async with site.http.get("/version", headers={DESTINATION: "127.0.0.1:1"}) as response:
        assert response.status == 200


async def test_requests_without_a_model_go_to_any_endpoint(site: Site) -> None:
    async with site.http.get("/health") as response:
        assert response.status == 200
        assert response.headers["x-served-by"] in site.sims
    async with site.http.get("/version", headers={"X-Gateway-Model-Name": GEMMA}) as response:
        assert response.headers["x-served-by"] == "sim-2"
    async with site.http.get("/version", headers={"X-Gateway-Model-Name": "nothing"}) as response:
        assert response.status == 404


async def test_a_body_in_chunks_without_a_length_arrives_byte_for_byte(site: Site) -> None:
    body = chat(GEMMA, size=300_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7_001):
            yield body[start : start + 7_001]

    async with site.http.post("/v1/chat/completions", data=pieces()) as response:
        assert response.status == 200
        assert response.headers["x-received-body-sha256"] == hashlib.sha256(body).hexdigest()


async def test_an_empty_chunked_body_is_answered(site: Site) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for piece in list[bytes]():
            yield piece

    async with site.http.post("/ping", data=nothing(), headers={"X-Gateway-Model-Name": GEMMA}) as response:
        assert response.headers["x-served-by"] == "sim-2"


async def test_a_multipart_form_names_its_model(site: Site) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"\0\1\2\r\n--" * 20_000, filename="a.wav", content_type="audio/wav")
    form.add_field("model", QWEN)
    async with site.http.post("/v1/audio/transcriptions", data=form) as response:
        assert response.status == 200, await response.text()
        assert response.headers["x-served-by"] == "sim-3"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_is_read_for_the_name_and_sent_on_as_it_came(site: Site, encoding: str) -> None:
    body = chat(GEMMA, size=10_000)
    async with site.http.post("/v1/chat/completions", data=body, compress=encoding) as response:
        assert response.status == 200, await response.text()
        assert response.headers["x-served-by"] == "sim-2"
        assert int(response.headers["x-received-body-bytes"]) < len(body) / 10


async def test_a_body_over_the_limit_is_a_413() -> None:
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(SimServer(EngineSettings(models=(PHI,))))
        config = {"requests": {"maxBodyBytes": "1MiB"}}
        picker = await stack.enter_async_context(Picker({"sim": sim.address}, config=config))
        envoy = await stack.enter_async_context(Envoy(GatewaySettings(endpoints=(sim.address,), picker=picker.address)))
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url))
        for size in (1_048_577, 3_000_000):
            async with http.post("/v1/chat/completions", data=io.BytesIO(b"x" * size)) as response:
                assert response.status == 413
                assert response.headers["x-extproc-reason"] == "request_too_large"
