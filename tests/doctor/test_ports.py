"""`extproc doctor` on ports that speak something else than they should: real servers, on both sides of TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from tests.raw_server import raw_server
from tests.secret import issued, mount, self_signed
from tests.unit.cli.doctor.given import evidence

from extproc.cli.doctor.health import ask_health
from extproc.cli.doctor.picker import check
from extproc.cli.doctor.ports import look_at_port
from extproc.cli.doctor.verdict import Verdict
from extproc.servers.health import Health
from extproc.servers.listen import build_grpc_server, open_port

HOST = "127.0.0.1"
Server = Callable[[Path], AbstractAsyncContextManager[int]]


async def _ignore(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _answer_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(16)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await reader.read()


@asynccontextmanager
async def grpc_server(_folder: Path) -> AsyncIterator[int]:
    server, health = build_grpc_server(), Health()
    await health.start()
    health.add_to(server)
    port = open_port(server, HOST, 0, purpose="test", setting="grpc-port")
    await server.start()
    yield port
    await server.stop(0)


@asynccontextmanager
async def grpc_tls_server(_folder: Path) -> AsyncIterator[int]:
    pair, server = self_signed(), build_grpc_server()
    credentials = grpc.ssl_server_credentials([(pair.key_pem, pair.chain_pem)])
    port = open_port(server, HOST, 0, purpose="test", setting="grpc-port", credentials=credentials)
    await server.start()
    yield port
    await server.stop(0)


def tls_proxy(*alpn: str) -> Server:
    """What ends TLS before a picker."""

    @asynccontextmanager
    async def serve(folder: Path) -> AsyncIterator[int]:
        mount(folder / "tls", issued())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls/tls.crt", folder / "tls/tls.key")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        connections: list[asyncio.StreamWriter] = []

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            await asyncio.gather(reader.read(), return_exceptions=True)
            writer.transport.abort()

        server = await asyncio.start_server(hold, HOST, 0, ssl=context)
        yield server.sockets[0].getsockname()[1]
        server.close()
        for writer in connections:
            writer.transport.abort()

    return serve


@asynccontextmanager
async def http_server(_folder: Path) -> AsyncIterator[int]:
    async with raw_server(_answer_http) as port:
        yield port


async def judge_ext_proc(port: int, *, is_tls: bool) -> dict[str, Verdict]:
    config = f"{{server: {{secureServing: {str(is_tls).lower()}, grpcPort: {port}}}}}"
    found = evidence(config=config, ext_proc_port=await look_at_port(HOST, port))
    return {verdict.check: verdict for verdict in check(found)}


@pytest.mark.parametrize(
    ("server", "is_tls", "state", "words"),
    [
        pytest.param(grpc_server, False, "ok", "speaks plaintext HTTP/2", id="plaintext, as set"),
        pytest.param(grpc_tls_server, True, "ok", "speaks TLS", id="TLS, as set"),
        pytest.param(grpc_server, True, "fault", "speaks plaintext HTTP/2", id="plaintext, TLS is set"),
        pytest.param(grpc_tls_server, False, "fault", "speaks TLS", id="TLS, plaintext is set"),
        pytest.param(http_server, False, "fault", "speaks something else", id="HTTP/1.1"),
    ],
)
async def test_tls_on_one_side_only(tmp_path: Path, server: Server, is_tls: bool, state: str, words: str) -> None:
    async with server(tmp_path) as port:
        verdict = (await judge_ext_proc(port, is_tls=is_tls))["ext_proc port"]
    assert verdict.state == state
    assert words in verdict.evidence


@pytest.mark.parametrize(
    ("server", "state", "words"),
    [
        pytest.param(grpc_tls_server, "ok", "offers h2", id="gRPC's own"),
        pytest.param(tls_proxy("h2", "http/1.1"), "ok", "offers h2", id="proxy with h2"),
        pytest.param(tls_proxy("http/1.1"), "fault", "agrees on http/1.1", id="proxy with http/1.1"),
        pytest.param(tls_proxy(), "fault", "no ALPN at all", id="proxy without ALPN"),
    ],
)
async def test_no_alpn_h2(tmp_path: Path, server: Server, state: str, words: str) -> None:
    async with server(tmp_path) as port:
        verdict = (await judge_ext_proc(port, is_tls=True))["ALPN"]
    assert verdict.state == state
    assert words in verdict.evidence


async def test_a_certificate_is_named(tmp_path: Path) -> None:
    async with tls_proxy("h2")(tmp_path) as port:
        look = await look_at_port(HOST, port)
    assert look.name == "*.picker.test"
    assert look.ends_at is not None


async def test_a_closed_port_is_not_checked() -> None:
    async with raw_server(_ignore) as port:
        pass
    verdict = (await judge_ext_proc(port, is_tls=True))["ext_proc port"]
    assert (verdict.state, "refused" in verdict.evidence) == ("not checked", True)


async def test_the_health_port_and_its_names(tmp_path: Path) -> None:
    async with grpc_server(tmp_path) as port:
        look = await ask_health(f"{HOST}:{port}", ("readiness", "liveness", "nonsense"))
        assert look.answers == {"readiness": "NOT_SERVING", "liveness": "SERVING", "nonsense": "NOT_FOUND"}
        every = await ask_health(f"{HOST}:{port}")
        found = evidence(health_port=await look_at_port(HOST, port), health=every)
    assert {each.check: each.state for each in check(found)}["health port"] == "ok"


async def test_a_health_port_that_is_something_elses(tmp_path: Path) -> None:
    async with http_server(tmp_path) as port:
        found = evidence(health_port=await look_at_port(HOST, port), health=None)
    assert {each.check: each.state for each in check(found)}["health port"] == "fault"
    address = f"{HOST}:{port}"
    assert (await ask_health(address, ("readiness",))).answers == {"readiness": "UNAVAILABLE"}
    async with grpc_server(tmp_path) as port:  # the port is the picker's own again
        look = await look_at_port(HOST, port)
        mended = evidence(health_port=look, health=await ask_health(look.address))
    assert {each.check: each.state for each in check(mended)}["health port"] == "ok"
