"""Ports: each belongs to one server alone."""

import grpc
import pytest
from prometheus_client import CollectorRegistry

from extproc.errors import PortInUseError
from extproc.servers.listen import build_grpc_server, open_port
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
