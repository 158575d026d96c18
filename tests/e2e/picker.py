"""The picker as a process of its own, as its users run it; in plaintext unless `--secure-serving=true` is given."""

import asyncio
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_TIMEOUT_S = 20.0
FLAGS = (
    "--secure-serving=false",
    "--listen-address=127.0.0.1",
    "--grpc-port=0",
    "--grpc-health-port=0",
    "--metrics-port=0",
    "--admin-grpc-port=0",
    "--admin-http-port=0",
    "--drain-delay=0s",
    "--drain-timeout=2s",
)
PORTS = re.compile(
    r"\bserving\b.*\bgrpc\W+(?P<grpc>\d+)\W+health\W+(?P<health>\d+)\W+metrics\W+(?P<metrics>\d+)"
    r"\W+admin_grpc\W+(?P<admin_grpc>\d+)\W+admin_http\W+(?P<admin_http>\d+)"
)
"""In both forms of the log."""


class Picker:
    """`extproc serve` in a subprocess, on free ports of loopback.

    `endpoints` maps names to addresses; `set_endpoints` rewrites the file while it runs. `source`: the flags that name
    another source than that file. Its log is in `log_text()`.
    """

    def __init__(
        self,
        endpoints: Mapping[str, str] | None = None,
        *,
        source: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
        until_ready: bool = True,
    ):
        self._folder = tempfile.TemporaryDirectory(prefix="extproc-picker-")
        self._file = Path(self._folder.name, "endpoints.yaml")
        self._source = tuple(source) or (f"--endpoints-file={self._file}",)
        self._config = ("--config-text=" + yaml.safe_dump(dict(config)),) if config else ()
        self._flags = tuple(flags)
        self._until_ready = until_ready
        self._process: asyncio.subprocess.Process | None = None
        self._ports: dict[str, int] = {}
        self._log: list[str] = []
        self._has_logged = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self.set_endpoints(endpoints or {})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        self._folder.cleanup()

    @property
    def address(self) -> str:
        """`ip:port` of the ext_proc service."""
        return f"127.0.0.1:{self._ports['grpc']}"

    @property
    def health_address(self) -> str:
        """`ip:port` of the health service."""
        return f"127.0.0.1:{self._ports['health']}"

    @property
    def admin_address(self) -> str:
        """`ip:port` of the admin service."""
        return f"127.0.0.1:{self._ports['admin_grpc']}"

    @property
    def page_url(self) -> str:
        """URL of the page."""
        return f"http://127.0.0.1:{self._ports['admin_http']}/"

    @property
    def metrics_url(self) -> str:
        """URL of the metrics page."""
        return f"http://127.0.0.1:{self._ports['metrics']}/metrics"

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    def set_endpoints(self, endpoints: Mapping[str, str]) -> None:
        """Writes the endpoints file; the picker follows within a fraction of a second."""
        entries = [{"name": name, "address": address} for name, address in endpoints.items()]
        self.write_file(yaml.safe_dump({"pools": [{"name": "test", "endpoints": entries}]}))

    def write_file(self, text: str) -> None:
        """Puts a new endpoints file into the place of the old one, as editors and ConfigMaps do."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self._file)

    async def start(self) -> None:
        """Starts the process and returns when it says that it is ready, or (`until_ready=False`) that it serves."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "extproc", "serve",
            *self._source, *self._config, *FLAGS, *self._flags,
            stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        is_serving = asyncio.Event()
        self._reader = asyncio.create_task(self._read_log(self._process, is_serving))
        async with asyncio.timeout(START_TIMEOUT_S):
            await is_serving.wait()
            assert self._ports, self.log_text()
            if self._until_ready:
                await self.wait_until_ready()

    async def _read_log(self, process: asyncio.subprocess.Process, is_serving: asyncio.Event) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._log.append(line.decode())
            async with self._has_logged:
                self._has_logged.notify_all()
            if match := PORTS.search(self._log[-1]):
                self._ports = {name: int(port) for name, port in match.groupdict().items()}
                is_serving.set()
        is_serving.set()

    async def wait_until_ready(self) -> None:
        """Watches the health service until it says so."""
        async with grpc.aio.insecure_channel(self.health_address) as channel:
            async for response in _watch_readiness(channel):
                if response.status == health_pb2.HealthCheckResponse.SERVING:
                    return

    async def send_signal(self, number: int) -> None:
        """Sends a signal to a ready picker and returns when it says that it is ready no more."""
        async with grpc.aio.insecure_channel(self.health_address) as channel:
            watch = _watch_readiness(channel)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            self.process.send_signal(number)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING

    async def stop(self) -> int:
        """Ends the process with SIGTERM (SIGKILL if that takes too long) and returns its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(10):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        return await self.stop_code()

    async def kill(self) -> None:
        """Ends the process with SIGKILL."""
        self.process.kill()
        await self.stop_code()

    async def stop_code(self) -> int:
        """Waits for the process to end by itself and returns its exit code."""
        code = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return code

    def log_text(self) -> str:
        """What it logged so far."""
        return "".join(self._log)

    async def wait_for_log(self, text: str, *, count: int = 1) -> None:
        """Returns once `text` stands so often in the log."""
        async with asyncio.timeout(START_TIMEOUT_S), self._has_logged:
            await self._has_logged.wait_for(lambda: self.log_text().count(text) >= count)

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric whose labels include `labels`."""
        async with aiohttp.ClientSession() as session, session.get(self.metrics_url) as response:
            text = await response.text()
        total = 0.0
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{label}"' in series for key, label in labels.items()):
                total += float(value)
        return total

    async def wait_for_metric(self, name: str, value: float, **labels: str) -> None:
        """Returns once that sum is `value`."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while await self.metric(name, **labels) != value:
                pass

    async def wait_for_routed(self, *, at_least: int) -> None:
        """Returns once it has routed so many requests."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while await self.metric("extproc_requests_total", outcome="routed") < at_least:
                await asyncio.sleep(0.02)  # it is to route, not to answer this


def _watch_readiness(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readiness"))
