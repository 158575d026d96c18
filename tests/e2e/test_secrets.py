"""Nothing that clients and engines send, and no key of ours, comes out where a picker tells of itself."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml
from tests.e2e.picker import Picker
from tests.raw_server import Handler, raw_server

from extproc.cli.probe import DIRECT_ENVOY, METHOD, build_requests

CANARY = "canary"
"""Stands in everything that must not be told, each time followed by where it stands."""
SERVICE = "/extproc.admin.v1.Admin/"
GOOD_LIST = json.dumps({"data": [{"id": "llama", "extra": f"{CANARY} in a field"}]})
ENGINES = {
    "good": f"HTTP/1.1 200 OK\r\n\r\n{GOOD_LIST}",
    "wants-a-key": f"HTTP/1.1 401 {CANARY} reason\r\nwww-authenticate: {CANARY}\r\n\r\n{CANARY} in a 401",
    "fails": f"HTTP/1.1 500 {CANARY} reason\r\n\r\n{CANARY} in a 500",
    "moved": f"HTTP/1.1 302 Found\r\nlocation: http://{CANARY}.example/\r\n\r\n",
    "no-list": f'HTTP/1.1 200 OK\r\n\r\n{{"data": "{CANARY} instead of a list"}}',
    "no-json": f"HTTP/1.1 200 OK\r\n\r\n{CANARY} instead of JSON",
    "no-http": f"{CANARY} instead of HTTP\r\n\r\n",
    "bad-header": f"HTTP/1.1 200 OK\r\n{CANARY} instead of a header\r\n\r\n",
    "bad-chunks": f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{CANARY} instead of a size\r\n",
    "bad-gzip": f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n{CANARY} instead of gzip",
}
METRICS = f'HTTP/1.1 200 OK\r\n\r\n# {CANARY}\nvllm:num_requests_waiting{{a="{CANARY}"}} {CANARY}\n'


def engine(answer: str) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write((METRICS if head.startswith(b"GET /metrics") else answer).encode())
        await writer.drain()
        writer.close()

    return handle


def requests() -> Iterator[list[bytes]]:
    """Streams of all sorts."""
    headers = {
        "x-request-id": "r-1",
        "authorization": f"Bearer {CANARY} of the client",
        "x-session": f"{CANARY} of the session",
        "cookie": CANARY,
    }
    path = f"/v1/chat/completions?api_key={CANARY}"
    prompt = f"{CANARY} in a prompt"
    for model in ("llama", "unknown", "", 7):
        yield build_requests("POST", path, headers, json.dumps({"model": model, "prompt": prompt}).encode())
    for more, body in (
        ({}, prompt.encode()),
        ({}, f'{{"model": "llama", "{prompt}'.encode()),
        ({"content-encoding": "gzip"}, prompt.encode()),
        ({"content-encoding": "gzip"}, gzip.compress(prompt.encode())),
        ({"content-encoding": "br"}, prompt.encode()),
        ({"content-type": "multipart/form-data; boundary=x"}, prompt.encode()),
        ({"content-type": "multipart/form-data"}, prompt.encode()),
        ({}, prompt.encode() * 2000),
    ):
        yield build_requests("POST", path, headers | more, body)
    yield build_requests("GET", f"/v1/models?key={CANARY}", headers, b"")
    yield build_requests("POST", path, headers, prompt.encode())[:1]
    yield [f"{CANARY} instead of a message".encode()]


async def send_all(picker: Picker) -> int:
    """Sends the requests, one after the other, and returns how many."""
    count = 0
    errors: list[str] = []
    async with grpc.aio.insecure_channel(picker.address) as channel:
        for metadata in (DIRECT_ENVOY, ()):
            for messages in requests():
                call = channel.stream_stream(METHOD)(metadata=metadata)
                try:
                    for message in messages:
                        await call.write(message)
                    await call.done_writing()
                    while await call.read() is not grpc.aio.EOF:
                        pass
                except grpc.aio.AioRpcError as exc:
                    errors.append(str(exc))
                except asyncio.InvalidStateError:
                    pass  # answered and ended while it was still being sent
                count += 1
    assert errors
    assert CANARY not in str(errors)
    return count


async def ask_all(picker: Picker, token: str) -> dict[str, bytes]:
    """What the picker tells of itself, by where: metrics, the admin service and the page."""
    told: dict[str, bytes] = {}
    async with grpc.aio.insecure_channel(picker.admin_address) as channel:
        for name, request in (("GetSnapshot", b"\x08\xc8\x01"), ("GetConfig", b""), ("Explain", b"\x0a\x05llama")):
            metadata = (("authorization", f"Bearer {token}"),)
            told[name] = await channel.unary_unary(SERVICE + name)(request, metadata=metadata)
        wrong = (("authorization", f"Bearer {CANARY} as a wrong token"),)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(SERVICE + "GetSnapshot")(b"", metadata=wrong)
        told["a refused call"] = str(refused.value).encode()
    async with aiohttp.ClientSession() as http:
        async with http.get(picker.metrics_url) as response:
            told["metrics"] = await response.read()
        for shown in (token, f"{CANARY} as a wrong token"):
            headers = {"authorization": f"Bearer {shown}"}
            async with http.get(f"{picker.page_url}?{CANARY}", headers=headers) as response:
                told[f"the page, {response.status}"] = await response.read()
    return told


@asynccontextmanager
async def watched(picker: Picker, token: str) -> AsyncIterator[list[bytes]]:
    """The decisions that a watcher is shown meanwhile."""
    events: list[bytes] = []
    async with grpc.aio.insecure_channel(picker.admin_address) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        call = channel.unary_stream(f"{SERVICE}WatchDecisions")(b"\x18\xe8\x07", metadata=metadata)
        await call.initial_metadata()

        async def read() -> None:
            while (event := await call.read()) is not grpc.aio.EOF:
                events.append(event)

        task = asyncio.create_task(read())
        try:
            yield events
        finally:
            call.cancel()
            await asyncio.gather(task, return_exceptions=True)


def write_keys(folder: Path, *, engine_key: str) -> tuple[Mapping[str, object], str]:
    """A config with a key for the engines and a token for the admin service, and that token."""
    token = f"{CANARY}-admin-token"
    (folder / "key").write_text(engine_key)
    (folder / "token").write_text(token)
    config = {
        "probes": {"bearerTokenFile": str(folder / "key"), "models": {"interval": "200ms"}},
        "scheduling": {"sessionHeader": "x-session", "scorers": [{"name": "session"}]},
        "requests": {"maxBodyBytes": 20_000, "hold": "50ms"},
        "admin": {"tokenFile": str(folder / "token")},
    }
    return config, token


@pytest.mark.parametrize(
    ("form", "engine_key"),
    [
        pytest.param("json", f"{CANARY}-engine-key", id="JSON"),
        pytest.param("console", f"{CANARY}-engine-key\nof two lines", id="console, and a key that is none"),
    ],
)
async def test_nothing_is_told_of_what_was_sent(tmp_path: Path, form: str, engine_key: str) -> None:
    config, token = write_keys(tmp_path, engine_key=engine_key)
    async with AsyncExitStack() as stack:
        endpoints = {
            name: f"127.0.0.1:{await stack.enter_async_context(raw_server(engine(answer)))}"
            for name, answer in ENGINES.items()
        }
        picker = Picker(endpoints, config=config, flags=["-v=10", f"--log-format={form}"])
        await stack.enter_async_context(picker)
        await picker.wait_for_log("probe failed", count=len(ENGINES) - 1)
        async with watched(picker, token) as events:
            count = await send_all(picker)
            told = await ask_all(picker, token)
        assert len(events) > count / 2, "the watcher saw them"
        assert {"the page, 200", "the page, 401"} <= told.keys()
        if form == "json":  # else nobody got an answer, for want of a key
            assert b"llama" in told["GetSnapshot"]
            assert b"extproc_requests_total" in told["metrics"]
        await picker.stop()
    log = picker.log_text()
    assert "unforeseen" not in log
    for where, text in {**told, "the log": log.encode(), "an event": b"\n".join(events)}.items():
        assert CANARY.encode() not in text.lower(), where
    if form == "json":
        lines = [json.loads(line) for line in log.splitlines()]
        refusals = [line for line in lines if "refused" in line]
        assert len({line["refused"] for line in refusals}) >= 6
        assert {line["request_id"] for line in refusals} == {"r-1"}


KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "users": [{"name": "u", "user": {"token": f"{CANARY}-of-kubernetes"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("HTTP/1.1 401 Unauthorized\r\n\r\nno", id="refused"),
        pytest.param("HTTP/1.1 200 OK\r\n\r\n{}", id="nonsense"),
    ],
)
async def test_the_token_of_kubernetes_is_not_told(tmp_path: Path, answer: str) -> None:
    async with raw_server(engine(answer)) as port:
        clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
        (tmp_path / "config").write_text(yaml.safe_dump({**KUBECONFIG, "clusters": clusters}))
        source = [f"--kubeconfig={tmp_path / 'config'}", "--pool-name=p"]
        async with Picker(source=source, flags=["-v=10"], until_ready=False) as picker:
            await picker.wait_for_log("sources.kubernetes")
            await picker.stop()
    assert CANARY not in picker.log_text()
