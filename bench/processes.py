"""Python servers as processes of their own: the picker and the reference, with their CPU time and their memory."""

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import yaml

from bench.modes import Mode
from bench.pods import NAMESPACE, POOL
from bench.results import BenchError

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_CPUCLOCK_SCHED = 2
"""Of a process, in nanoseconds and not in ticks of 10 ms. Source: Linux's posix-timers.h, MAKE_PROCESS_CPUCLOCK."""


class PythonServer(ABC):
    """`python -m …` with what it prints at hand. An async context manager; killed when it does not end in time."""

    def __init__(self, *arguments: str, tree: Path | None = None) -> None:
        """`tree`: where the sources are, where they are not those that are installed."""
        self._arguments = arguments
        self._environment = os.environ | ({"PYTHONPATH": str(tree / "src")} if tree is not None else {})
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=20)
        self.begun_at_s = 0.0
        """The time of the day at which the process was begun."""

    def __repr__(self) -> str:
        return f"<PythonServer {' '.join(self._arguments)}>"

    async def __aenter__(self) -> Self:
        self.begun_at_s = time.time()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self._arguments,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._become_ready()
        except BaseException:
            await self._end()
            raise
        self._drain = asyncio.create_task(self._read_on(), name="drain")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system, all threads."""
        return process_cpu_s(self.pid)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def open_files(self) -> int:
        """File descriptors that it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def threads(self) -> int:
        """Threads that it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    @property
    def resident_bytes(self) -> int:
        """Memory it has now."""
        return process_status_bytes(self.pid, "VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most memory it has had since `reset_peak`."""
        return process_status_bytes(self.pid, "VmHWM")

    def reset_peak(self) -> None:
        """Lets `peak_bytes` begin anew. Errors: BenchError where the kernel has no such thing or forbids it."""
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        except OSError as exc:
            raise BenchError(f"the peak of a process's memory cannot be reset here: {exc}") from exc

    @abstractmethod
    async def _become_ready(self) -> None:
        """Reads what the process prints until it can be used."""

    async def _line(self, pattern: str) -> re.Match[str]:
        """Reads on to the first line that holds `pattern`. Errors: BenchError when the process ends before."""
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._hear(text)
            if found := re.search(pattern, text):
                return found
        raise BenchError("\n".join([f"{self!r} ended before it was ready:", *self._tail]))

    def _hear(self, line: str) -> None:
        """Takes in a line that the process has printed."""
        self._tail.append(line)

    async def _read_on(self) -> None:
        with contextlib.suppress(BenchError):
            await self._line(r"(?!)")

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        if self._drain is not None:
            await self._drain


def process_cpu_s(pid: int) -> float:
    """CPU seconds that a process has used so far, user and system, all threads."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def process_status_bytes(pid: int, name: str) -> int:
    """A line of /proc/PID/status, such as VmRSS. Errors: BenchError where there is none."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise BenchError(f"/proc/PID/status has no {name} here")
    return int(found[1]) * 1024


def endpoints_file(endpoints: Sequence[str], directory: Path) -> str:
    """The flag of a picker that serves these endpoints. `directory` has to outlive it."""
    file = directory / "endpoints.yaml"
    lines = [f'      - {{name: pod-{index}, address: "{address}"}}' for index, address in enumerate(endpoints)]
    file.write_text("\n".join(["pools:", "  - name: bench", "    endpoints:", *lines, ""]))
    return f"--endpoints-file={file}"


def pool_flags(url: str, directory: Path) -> tuple[str, ...]:
    """The flags of a picker that follows the pool of `bench.pods` at this API server. `directory` has to outlive it."""
    file = directory / "kubeconfig"
    config = {
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {"token": "none"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": NAMESPACE}}],
        "current-context": "bench",
    }
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
    return f"--pool-name={POOL}", f"--pool-namespace={NAMESPACE}", f"--kubeconfig={file}"


def _ports(tree: Path | None) -> Sequence[str]:
    """The flags of the ports that a picker of this tree opens."""
    ports = ("grpc-port", "grpc-health-port", "metrics-port")
    has_admin = tree is None or (tree / "src" / "extproc" / "servers" / "admin").exists()
    return (*ports, "admin-grpc-port", "admin-http-port") if has_admin else ports


class Picker(PythonServer):
    """`extproc serve` on free ports, with its defaults where `config` says nothing else.

    `source`: the flags that say where its endpoints come from. Ready when it says so: every endpoint has been probed.
    `program`: the module that is run, which has to take `extproc`'s arguments.
    """

    def __init__(
        self,
        *source: str,
        config: Mapping[str, object] | None = None,
        tree: Path | None = None,
        program: str = "extproc",
    ) -> None:
        super().__init__(
            *(program, "serve", *source, "--secure-serving=false", "--listen-address=127.0.0.1"),
            *(f"--{port}=0" for port in _ports(tree)),
            "--drain-delay=0s",
            *((f"--config-text={json.dumps(dict(config))}",) if config else ()),
            tree=tree,
        )
        self.address = ""
        self.health_address = ""
        self._metrics_port = 0

    async def _become_ready(self) -> None:
        ports = await self._line(r" serving .* grpc=(\d+) health=(\d+) metrics=(\d+)")
        self.address, self.health_address = f"127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[2]}"
        self._metrics_port = int(ports[3])
        await self._line(r" ready endpoints=")

    async def routed(self) -> float:
        """How many requests it has routed."""
        samples = await self.counters("extproc_requests_total")
        return sum(value for labels, value in samples.items() if 'outcome="routed"' in labels)

    async def counters(self, name: str) -> dict[str, float]:
        """The samples of the counter `name` on its metrics page, by the text between their braces."""
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"http://127.0.0.1:{self._metrics_port}/metrics") as response:
                page = await response.text()
        samples = re.findall(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)$", page, re.MULTILINE)
        return {labels: float(value) for labels, value in samples}


class Reference(PythonServer):
    """The empty servicer of `bench.empty_servicer` in one mode.

    It sends requests to `endpoints` in turn and, where the picker's answer has the body, all of them with `body`.
    """

    def __init__(self, endpoints: Sequence[str], directory: Path, *, mode: Mode, body: bytes) -> None:
        file = directory / "body.json"
        file.write_bytes(body)
        super().__init__("bench.empty_servicer", mode.name, str(file), *endpoints)
        self.address = ""

    async def _become_ready(self) -> None:
        self.address = (await self._line(r"^listening on (\S+)"))[1]
