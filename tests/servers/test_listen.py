"""Ports: each belongs to one server alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from extproc.errors import PortInUseError
from extproc.servers.listen import build_grpc_server, open_port, open_site
from extproc.servers.metrics_http import MetricsServer


async def test_a_grpc_port_in_use_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = build_grpc_server(), build_grpc_server()
    port = open_port(first, "127.0.0.1", 0, purpose="ext_proc", setting="grpc-port")
    with pytest.raises(PortInUseError, match=rf"127\.0\.0\.1:{port} for ext_proc.*--grpc-port"):
        open_port(second, "127.0.0.1", port, purpose="ext_proc", setting="grpc-port")
    for server in (first, second):
        await server.stop(0)


async def test_a_metrics_port_in_use_is_named() -> None:
    first, second = MetricsServer(CollectorRegistry()), MetricsServer(CollectorRegistry())
    port = await first.start("127.0.0.1", 0)
    with pytest.raises(PortInUseError, match=rf"127\.0\.0\.1:{port} for metrics.*--metrics-port"):
        await second.start("127.0.0.1", port)
    await first.stop()
    await second.stop()


async def test_an_http_application_without_its_port_is_cleaned_up() -> None:
    runners = [web.AppRunner(web.Application()) for _ in range(2)]
    port = await open_site(runners[0], "127.0.0.1", 0, purpose="a test", setting="x-port")
    with pytest.raises(PortInUseError, match=rf"127\.0\.0\.1:{port} for a test.*--x-port"):
        await open_site(runners[1], "127.0.0.1", port, purpose="a test", setting="x-port")
    assert [runner.server is None for runner in runners] == [False, True]
    await runners[0].cleanup()


@pytest.mark.parametrize("address", ["[::]", "0.0.0.0", "127.0.0.1", "[::1]"])
async def test_addresses_are_taken_by_both_kinds_of_server(address: str) -> None:
    http, server = MetricsServer(CollectorRegistry()), build_grpc_server()
    assert await http.start(address, 0) > 0
    assert open_port(server, address, 0, purpose="test", setting="grpc-port") > 0
    await http.stop()
    await server.stop(0)


async def test_large_messages_are_taken_up_to_the_limit_given() -> None:
    async def echo_size(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return str(len(await context.read())).encode()

    server = build_grpc_server(max_receive_bytes=10 << 20)
    method = grpc.stream_unary_rpc_method_handler(echo_size)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"M": method}),))
    port = open_port(server, "127.0.0.1", 0, purpose="test", setting="grpc-port")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream("/t.T/M")()
        await call.write(b"x" * (10 << 20))
        assert await call.read() == str(10 << 20).encode()
        call = channel.stream_stream("/t.T/M")()
        await call.write(b"x" * ((10 << 20) + 1))
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    await server.stop(0)


@asynccontextmanager
async def echo_server(**bounds: float) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of its own, whose one method sends back what it is sent."""

    async def echo(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)

    server = build_grpc_server(**bounds)  # type: ignore[arg-type]
    method = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", {"Echo": method}),))
    port = open_port(server, "127.0.0.1", 0, purpose="test", setting="grpc-port")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def test_an_old_connection_is_replaced_and_its_stream_goes_on() -> None:
    async with echo_server(max_age_s=0.1) as channel:
        old = channel.stream_stream("/t.T/Echo")()
        await old.write(b"before")
        assert await old.read() == b"before"
        async with asyncio.timeout(20):
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            new = channel.stream_stream("/t.T/Echo")()
            for call in (new, old):
                await call.write(b"after")
                assert await call.read() == b"after"
                await call.done_writing()
                assert await call.code() is grpc.StatusCode.OK


async def test_with_a_bound_the_streams_of_an_old_connection_are_cut() -> None:
    async with echo_server(max_age_s=0.1, max_age_grace_s=0.1) as channel:
        call = channel.stream_stream("/t.T/Echo")()
        await call.write(b"x")
        assert await call.read() == b"x"
        async with asyncio.timeout(20):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("age_s", [1e-9, 1e12], ids=["too short to tell", "longer than gRPC can count"])
async def test_any_age_is_taken(age_s: float) -> None:
    """gRPC ends the process where it is given a number that it cannot count with. A channel need not become ready: at
    the shortest age its connection can be gone before.
    """
    async with echo_server(max_age_s=age_s, max_age_grace_s=age_s):
        pass
