"""What answers at the URL of `--envoy-admin` may be no Envoy, or a strange one: each is told in a line."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.raw_server import raw_server

from extproc.cli.doctor.envoy_admin import EnvoyAdminError, read_envoy

NOTHING: Mapping[str, Any] = {
    "/config_dump": {"configs": []},
    "/clusters": {"cluster_statuses": []},
    "/stats": {"stats": [{"name": "cluster.a.b", "value": 7}, {"histograms": {}}, {"name": "x", "value": "text"}]},
    "/server_info": {"version": "0123abc/1.40.0/Clean/RELEASE/BoringSSL"},
}


@asynccontextmanager
async def serve(answer: Callable[[str], web.Response]) -> AsyncIterator[str]:
    """An HTTP server that answers each path so; its URL."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request.path)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def text(path: str) -> web.Response:
    """As an Envoy without any config answers; JSON is sent as text, as some Envoys do."""
    return web.Response(text=json.dumps(NOTHING[path]))


def instead(of: str, text_of_it: str = "", status: int = 200, **headers: str) -> Callable[[str], web.Response]:
    """The same, but for one path."""
    return lambda path: web.Response(text=text_of_it, status=status, headers=headers) if path == of else text(path)


async def test_an_envoy_without_config() -> None:
    async with serve(text) as url:
        facts = await read_envoy(f"{url}/")
    assert (facts.url, facts.version, facts.listeners, facts.passages) == (url, "1.40.0", 0, ())
    assert facts.stats == {"cluster.a.b": 7}


ODD: dict[str, tuple[Callable[[str], web.Response], str]] = {
    "not found": (lambda _: web.Response(status=404), "answers 404"),
    "a redirect": (instead("/stats", status=302, location="http://127.0.0.1:1/"), "/stats answers 302"),
    "a page": (instead("/clusters", "<html></html>"), "/clusters answers no JSON"),
    "half an answer": (instead("/config_dump", '{"configs": ['), "/config_dump answers no JSON"),
    "another JSON": (instead("/server_info", "[]"), "/server_info answers no JSON object"),
    "another Envoy": (instead("/config_dump", '{"configs": "x"}'), "cannot be understood"),
    "an answer too long": (instead("/config_dump", '{"configs": []}' + " " * (3 << 20)), "more than 2 MiB"),
}


@pytest.mark.parametrize(("answer", "words"), ODD.values(), ids=ODD)
async def test_what_is_no_envoy(answer: Callable[[str], web.Response], words: str) -> None:
    async with serve(answer) as url:
        with pytest.raises(EnvoyAdminError) as caught:
            await read_envoy(url, most_bytes=2 << 20)
    assert str(caught.value).startswith(f"no admin port of an Envoy at {url}: ")
    assert words in str(caught.value)


async def test_numbers_that_grow_while_streams_fail() -> None:
    asked: list[str] = []

    def answer(path: str) -> web.Response:
        asked.append(path)
        if path != "/stats":
            return text(path)
        failed = {"name": "http.gateway.ext_proc.streams_failed", "value": 4 + asked.count(path)}
        return web.Response(text=json.dumps({"stats": [failed, {"name": "cluster.a.b", "value": 7}]}))

    async with serve(answer) as url:
        facts = await read_envoy(url, again_after_s=0)
    assert facts.grown == {"http.gateway.ext_proc.streams_failed": 1}
    assert facts.stats == {"http.gateway.ext_proc.streams_failed": 6, "cluster.a.b": 7}


async def test_numbers_that_cannot_be_read_again() -> None:
    asked: list[str] = []

    def answer(path: str) -> web.Response:
        asked.append(path)
        if path != "/stats" or asked.count(path) > 1:
            return text(path) if path != "/stats" else web.Response(status=500)
        failed = {"name": "http.gateway.ext_proc.streams_failed", "value": 5}
        return web.Response(text=json.dumps({"stats": [failed]}))

    async with serve(answer) as url:
        facts = await read_envoy(url, again_after_s=0)
    assert (facts.stats, facts.grown) == ({"http.gateway.ext_proc.streams_failed": 5}, {})


async def test_what_speaks_something_else() -> None:
    async with raw_server(_speak_http2) as port:
        with pytest.raises(EnvoyAdminError, match="does not speak HTTP as an admin port does"):
            await read_envoy(f"http://127.0.0.1:{port}")


async def _speak_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(bytes(3) + b"\x04" + bytes(5))


async def test_nobody_listens() -> None:
    async with raw_server(_say_nothing) as port:
        pass
    with pytest.raises(EnvoyAdminError, match="no connection: Connection refused"):
        await read_envoy(f"http://127.0.0.1:{port}")


async def test_nothing_is_said() -> None:
    async with raw_server(_say_nothing) as port:
        with pytest.raises(EnvoyAdminError, match=r"no answer within 0\.1 s"):
            await read_envoy(f"http://127.0.0.1:{port}", timeout_s=0.1)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9901",
        "localhost",
        "ftp://a:1",
        "http://",
        "http://a:1?b",
        "http://me:secret@a:1",
        "http://a:b",
        "",
        "https://",
        "http://a:1/stats",
    ],
)
async def test_what_is_no_url(url: str) -> None:
    with pytest.raises(EnvoyAdminError) as caught:
        await read_envoy(url)
    assert "secret" not in str(caught.value)
