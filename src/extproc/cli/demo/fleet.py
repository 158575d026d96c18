"""The demo's servers and the picker, each a process of its own, and the Envoys: started, killed, restarted, stopped."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.cli.demo import ports as port_names
from extproc.cli.demo.bootstrap import ISTIO, GatewaySettings
from extproc.cli.demo.child import Child, ChildEndedError, ChildError, ChildNotReadyError, last_lines
from extproc.cli.demo.envoy import Envoy

PHI = "microsoft/Phi-3-mini-4k-instruct"
GEMMA = "google/gemma-2b-it"
MODELS = (GEMMA, PHI)
"""Sorted, as the picker lists them."""
SERVERS = {"phi-0": PHI, "gemma-0": GEMMA, "phi-1": PHI, "gemma-1": GEMMA}
"""Name of each server → the one model that it serves."""

# A fallback is what lets Envoy go on to the next server when one is killed; Istio and plain Envoy take a list.
FALLBACKS = 1
PICKER_CONFIG = f"{{envoy: {{fallbackEndpoints: {FALLBACKS}}}, server: {{drainDelay: 0s}}}}"

_READY_TIMEOUT_S = 30.0
# The picker listens some time after its start: without these the first refused connection would cost a second.
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.enable_http_proxy", 0),
]


class Fleet:
    """Four simulated servers, the picker, and two Envoys, `alone` without and `gateway` with the picker.

    Processes, not objects: what is measured must not share an event loop with what measures it.
    """

    def __init__(self, ports: Mapping[str, int], directory: Path) -> None:
        self.ports = ports
        self.ended: asyncio.Future[ChildError] = asyncio.get_running_loop().create_future()
        """Gets its result when a process ends that should not have."""
        addresses = [self.address_of(name) for name in SERVERS]
        picker = f"127.0.0.1:{ports[port_names.EXT_PROC]}"
        self.alone = Envoy(GatewaySettings(endpoints=addresses))
        self.gateway = Envoy(
            GatewaySettings(
                endpoints=addresses,
                picker=picker,
                listener_port=ports[port_names.GATEWAY],
                admin_port=ports[port_names.ENVOY_ADMIN],
                pick_from="metadata",
                processing_mode=ISTIO,
                retries=FALLBACKS,
            )
        )
        self._directory = directory
        self._servers: dict[str, Child] = {}
        self._picker: Child | None = None
        self._watches: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Fleet of {len(self._servers)} servers in {self._directory}>"

    def address_of(self, server: str) -> str:
        """`ip:port` of a server."""
        return f"127.0.0.1:{self.ports[server]}"

    async def start_servers(self) -> None:
        """Returns when all four listen."""
        for name in SERVERS:
            await self._launch(name)
        for name in SERVERS:
            await self._wait_until_listening(name)

    async def restart_server(self, name: str) -> None:
        """Starts a killed server again on its port, and returns when it listens."""
        await self._launch(name)
        await self._wait_until_listening(name)

    async def kill_server(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        await self._servers[name].kill()

    async def start_picker(self) -> None:
        """Returns when its health service says that it is ready."""
        file = self._write_endpoints()
        picker = self._picker = self._child(
            "picker",
            *("serve", "--endpoints-file", str(file), "--secure-serving=false", "--listen-address", "127.0.0.1"),
            *("--grpc-port", str(self.ports[port_names.EXT_PROC])),
            *("--grpc-health-port", str(self.ports[port_names.HEALTH])),
            *("--metrics-port", str(self.ports[port_names.METRICS])),
            *("--admin-grpc-port", str(self.ports[port_names.ADMIN])),
            *("--admin-http-port", str(self.ports[port_names.PAGE])),
            *("--config-text", PICKER_CONFIG),
        )
        await picker.start()
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await _wait_until_ready(f"127.0.0.1:{self.ports[port_names.HEALTH]}")
        except (TimeoutError, grpc.RpcError) as exc:
            raise ChildNotReadyError(picker.name, picker.tail()) from exc

    async def start_envoys(self) -> None:
        """Returns when both serve. Raises EnvoyError."""
        for envoy, name in ((self.alone, "Envoy without the picker"), (self.gateway, "Envoy with the picker")):
            await envoy.start()
            self._watches.append(asyncio.create_task(self._watch(envoy, name), name=f"end of {name}"))

    async def count_wrong(self, session: aiohttp.ClientSession) -> int:
        """Requests for a model that the server does not serve, as the servers have counted since each started.

        Raises ChildNotReadyError when one does not answer.
        """
        count = 0
        for name in SERVERS:
            try:
                async with session.get(f"http://{self.address_of(name)}/sim/stats") as response:
                    count += int((await response.json())["wrong_model"])
            except (aiohttp.ClientError, TimeoutError) as exc:
                raise ChildNotReadyError(name, self._servers[name].tail()) from exc
        return count

    async def stop(self) -> None:
        """Ends every process and returns when all are gone; the logs stay in the directory. Safe to repeat."""
        for watch in self._watches:
            watch.cancel()
        children = [*self._servers.values(), *([self._picker] if self._picker is not None else [])]
        await asyncio.gather(self.alone.stop(), self.gateway.stop(), *(child.stop() for child in children))
        for envoy, name in ((self.alone, "envoy-alone"), (self.gateway, "envoy")):
            (self._directory / f"{name}.log").write_text(envoy.log_text())

    async def _launch(self, name: str) -> None:
        port = str(self.ports[name])
        server = self._child(name, "sim", "--name", name, "--model", SERVERS[name], "--port", port)
        self._servers[name] = server
        await server.start()

    async def _wait_until_listening(self, name: str) -> None:
        server = self._servers[name]
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await server.wait_for_line(" listening on ")
        except TimeoutError as exc:
            raise ChildNotReadyError(name, server.tail()) from exc

    def _child(self, name: str, *arguments: str) -> Child:
        command = (sys.executable, "-m", "extproc", *arguments)
        return Child(name, command, log=self._directory / f"{name}.log", on_end=self._report_end)

    def _report_end(self, error: ChildError) -> None:
        if not self.ended.done():
            self.ended.set_result(error)

    async def _watch(self, envoy: Envoy, name: str) -> None:
        code = await envoy.wait()
        self._report_end(ChildEndedError(name, last_lines(envoy.log_text()), code))

    def _write_endpoints(self) -> Path:
        endpoints = [{"name": name, "address": self.address_of(name)} for name in SERVERS]
        file = self._directory / "endpoints.yaml"
        file.write_text(yaml.safe_dump({"pools": [{"name": "demo", "endpoints": endpoints}]}, sort_keys=False))
        return file


async def _wait_until_ready(address: str) -> None:
    """Follows the health of the picker, which may not listen yet, until it says SERVING."""
    request = health_pb2.HealthCheckRequest(service="readiness")
    async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        while True:
            watch = health_pb2_grpc.HealthStub(channel).Watch(request, wait_for_ready=True)
            try:
                async for answer in watch:
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
            except grpc.RpcError as exc:
                if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                # The connection broke; the next stream waits for a new one.
            finally:
                watch.cancel()  # closing the channel does not always; gRPC then writes to stderr when the picker stops
