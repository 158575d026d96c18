"""What the gRPC health service says to each name that somebody may ask for."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.servers.health import LIVENESS, READINESS_NAMES

NAMES = (*READINESS_NAMES, LIVENESS)
ASK_S = 2.0
UNKNOWN = "NOT_FOUND"
"""What a health service says to a name that it does not know."""


class HealthLook(NamedTuple):
    """What a port's health service says."""

    address: str
    answers: Mapping[str, str]
    """By name: SERVING, NOT_SERVING, or the code of gRPC's error."""


async def ask_health(address: str, names: Sequence[str] = NAMES) -> HealthLook:
    """Asks in plaintext, as the kubelet does, for every name. Never raises."""
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = await asyncio.gather(*(_ask(stub, name) for name in names))
    return HealthLook(address, dict(zip(names, answers, strict=True)))


async def _ask(stub: health_pb2_grpc.HealthStub, name: str) -> str:
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=ASK_S)
    except grpc.aio.AioRpcError as exc:
        return str(exc.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
