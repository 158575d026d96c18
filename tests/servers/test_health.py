"""gRPC health: what each name says, and that watchers are told."""

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from extproc.servers.health import Health
from extproc.servers.listen import build_grpc_server, open_port

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NAMES = ["readiness", "", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension"]


@pytest.fixture
async def health_and_stub() -> AsyncIterator[tuple[Health, HealthStub]]:
    health, server = Health(), build_grpc_server()
    await health.start()
    health.add_to(server)
    port = open_port(server, "127.0.0.1", 0, purpose="health", setting="grpc-health-port")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, HealthStub(channel)
    await server.stop(0)


@pytest.mark.parametrize("name", NAMES)
async def test_readiness_under_each_of_its_names(health_and_stub: tuple[Health, HealthStub], name: str) -> None:
    health, stub = health_and_stub
    for is_ready, status in ((None, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
        if is_ready is not None:
            await health.set_ready(is_ready)
        assert (await stub.Check(HealthCheckRequest(service=name))).status == status


async def test_liveness_is_the_process(health_and_stub: tuple[Health, HealthStub]) -> None:
    health, stub = health_and_stub
    for is_ready in (True, False):
        await health.set_ready(is_ready)
        assert (await stub.Check(HealthCheckRequest(service="liveness"))).status == SERVING


async def test_a_watcher_is_told(health_and_stub: tuple[Health, HealthStub]) -> None:
    health, stub = health_and_stub
    watch = stub.Watch(HealthCheckRequest(service="readiness"))
    assert (await watch.read()).status == NOT_SERVING
    await health.set_ready(True)
    assert (await watch.read()).status == SERVING
    watch.cancel()


async def test_an_unknown_name_is_not_found(health_and_stub: tuple[Health, HealthStub]) -> None:
    _, stub = health_and_stub
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.Check(HealthCheckRequest(service="nothing"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
