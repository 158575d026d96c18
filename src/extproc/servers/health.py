"""The gRPC health service: `liveness` is the process, the other names are whether it may be sent requests."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

LIVENESS = "liveness"
READINESS_NAMES = ("readiness", "", "envoy.service.ext_proc.v3.ExternalProcessor", "inference-extension")
"""`inference-extension` is what older guides have the kubelet ask for."""

SERVICE_NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """One state of health, served by any number of servers."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self.is_ready = False
        """What it says of `readiness`."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves the health service on `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Says that the process lives, and is not ready."""
        await self._servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(False)

    async def set_ready(self, is_ready: bool) -> None:
        """Says whether requests may be sent here; watchers are told at once."""
        self.is_ready = is_ready
        status = health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in READINESS_NAMES:
            await self._servicer.set(name, status)
