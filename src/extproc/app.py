"""The composition root: from settings to a running server, wired top to bottom."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from extproc import __version__
from extproc.admission.held import HeldBytes
from extproc.admission.recent import RecentRoutes
from extproc.director.decide import Director, DirectorPolicy
from extproc.errors import ConfigError, Problem
from extproc.probes.client import ModelsClient, find_problems
from extproc.probes.models import ModelProber
from extproc.protocol.codec import SERVICE_NAME
from extproc.registry.store import Store
from extproc.scheduling.catalogue import build_profile
from extproc.servers import health
from extproc.servers.ext_proc import ExtProcService, StreamLimits
from extproc.servers.health import Health
from extproc.servers.listen import build_grpc_server, open_port
from extproc.servers.metrics_http import MetricsServer
from extproc.settings.schema import Settings
from extproc.sources.static import EndpointsFile
from extproc.telemetry.logs import Log, join_names, log_changes
from extproc.telemetry.metrics import Metrics
from extproc.values.snapshot import Snapshot

QUIET_S = 1.0
"""A stopping server that saw no new stream for this long is no longer being sent any."""

LAST_ANSWER_S = 0.5
"""Time for the last answer to be sent once its request is decided."""

_log = Log("app")


class App:
    """A server: start, main loop, shutdown. Build it with `build`."""

    def __init__(self, settings: Settings, source: EndpointsFile, *, clock: Callable[[], float], rng: Random) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._store = Store(source.pool, now=clock())
        self._metrics = Metrics(knowledge=self._store, clock=clock, version=__version__)
        self._client = ModelsClient(settings.probes)
        self._prober = ModelProber(
            store=self._store,
            client=self._client,
            settings=settings.probes.models,
            meters=self._metrics,
            clock=clock,
            rng=rng,
        )
        recent = RecentRoutes()
        weights: dict[str, float] = {scorer.name: scorer.weight for scorer in settings.scheduling.scorers}
        self._ext_proc = ExtProcService(
            director=Director(
                profile=build_profile(weights, settings.scheduling.picker, recent=recent),
                policy=DirectorPolicy(
                    hold_s=settings.requests.hold_s,
                    fallback_endpoints=settings.envoy.fallback_endpoints,
                    unknown_model=settings.requests.unknown_model,
                ),
            ),
            store=self._store,
            budget=HeldBytes(settings.requests.max_held_bytes),
            routes=recent,
            request_round=self._prober.request_round,
            metrics=self._metrics,
            limits=StreamLimits(settings.requests.max_body_bytes, settings.envoy.decision_timeout_s),
            clock=clock,
            rng=rng,
        )
        self._health = Health()
        self._metrics_server = MetricsServer(self._metrics.registry)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._is_complete = asyncio.Event()
        self._store.subscribe(log_changes)
        self._store.subscribe(lambda _before, after: recent.retain(set(after.endpoints)))
        self._store.subscribe(self._note_complete)

    def __repr__(self) -> str:
        return f"<App {self._source!r}>"

    def stop(self) -> None:
        """Asks the server to stop in peace; asked again, at once."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def run(self) -> None:
        """Serves until stopped by SIGTERM, SIGINT or `stop`.

        Errors: PortInUseError before anything is served.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        server = self._settings.server
        # One chunk in full duplex can be as large as the gateway's buffer: what is over our limit gets a 413 from us,
        # not a broken stream from gRPC, up to twice the limit.
        grpc_server = build_grpc_server(max_receive_bytes=2 * self._settings.requests.max_body_bytes + (1 << 20))
        health_server = build_grpc_server()
        await self._health.start()
        self._ext_proc.add_to(grpc_server)
        for each in (grpc_server, health_server):
            self._health.add_to(each)
        names = (health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection((SERVICE_NAME, *names), grpc_server)
        reflection.enable_server_reflection(names, health_server)
        address = server.listen_address
        try:
            ports = {
                "grpc": open_port(grpc_server, address, server.grpc_port, purpose="ext_proc", setting="grpc-port"),
                "health": open_port(
                    health_server, address, server.grpc_health_port, purpose="health", setting="grpc-health-port"
                ),
                "metrics": await self._metrics_server.start(address, server.metrics_port),
            }
            await grpc_server.start()
            await health_server.start()
            async with self._client, asyncio.TaskGroup() as tasks:
                eternal = [
                    tasks.create_task(_never_return(coroutine, name), name=name)
                    for name, coroutine in (
                        ("probes", self._prober.run()),
                        ("source", self._source.run(self._report, self._say_connected)),
                    )
                ]
                ready = tasks.create_task(self._become_ready(), name="readiness")
                _log.info("serving", version=__version__, pool=self._source.pool, address=address, **ports)
                await self._stop.wait()
                ready.cancel()
                await self._leave()
                await self._drain(grpc_server)
                for task in eternal:
                    task.cancel()
        finally:
            await grpc_server.stop(0)
            await health_server.stop(0)
            await self._metrics_server.stop()
        _log.info("stopped")

    async def _become_ready(self) -> None:
        await self._is_complete.wait()
        await self._health.set_ready(True)
        snapshot = self._store.snapshot
        endpoints = f"{len(snapshot.routable)}/{len(snapshot.endpoints)}"
        _log.info("ready", endpoints=endpoints, models=join_names(list(snapshot.models)))

    async def _leave(self) -> None:
        """Says that requests should go elsewhere, and serves those that still come.

        Data planes learn late: a server that refuses at once fails what they send meanwhile.
        """
        await self._health.set_ready(False)
        delay_s = self._settings.server.drain_delay_s
        _log.info("stopping", drain_delay_s=delay_s, streams=self._ext_proc.open_streams)
        asked_at_s = self._clock()
        while not self._stop_now.is_set():
            now = self._clock()
            quiet_since_s = max(asked_at_s, self._ext_proc.last_stream_at_s)
            remaining_s = min(asked_at_s + delay_s, quiet_since_s + QUIET_S) - now
            if remaining_s <= 0:
                return
            try:
                async with asyncio.timeout(remaining_s):
                    await self._stop_now.wait()
            except TimeoutError:
                continue

    async def _drain(self, grpc_server: grpc.aio.Server) -> None:
        """Lets open requests end within the drain time-out, or ends them when asked a second time to stop.

        Who only watches the health service is not waited for.
        """
        draining = asyncio.create_task(grpc_server.stop(self._settings.server.drain_timeout_s), name="drain")
        hurry = asyncio.create_task(self._stop_now.wait(), name="second signal")
        idle = asyncio.create_task(self._ext_proc.wait_idle(), name="no request is open")
        await asyncio.wait((draining, hurry, idle), return_when=asyncio.FIRST_COMPLETED)
        if idle.done():
            await asyncio.wait((draining, hurry), timeout=LAST_ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        idle.cancel()
        if not draining.done():
            await grpc_server.stop(0)
        await draining

    def _note_complete(self, _before: Snapshot, after: Snapshot) -> None:
        if after.is_complete:
            self._is_complete.set()

    def _report(self, change: Any) -> None:
        self._store.apply(change, now=self._clock())

    def _say_connected(self, is_connected: bool) -> None:
        self._metrics.say_source_connected(self._source.name, is_connected)


async def _never_return(coroutine: Coroutine[Any, Any, None], name: str) -> None:
    await coroutine
    raise RuntimeError(f"the task {name!r} ended")


def missing_for_start(settings: Settings) -> list[Problem]:
    """What a server must still be told before it can start."""
    problems = []
    if settings.server.secure_serving:
        problems.append(
            Problem("--secure-serving", "TLS is not part of this version: start with --secure-serving=false")
        )
    if not settings.source.endpoints_file:
        problems.append(Problem("--endpoints-file", "is required: it says where the pool's endpoints are"))
    return problems


def read_inputs(settings: Settings) -> tuple[EndpointsFile | None, list[Problem]]:
    """The source, None where none is named, and everything wrong with the files that the settings name."""
    problems = find_problems(settings.probes)
    file = settings.source.endpoints_file
    if not file:
        return None, problems
    try:
        return EndpointsFile(file), problems
    except ConfigError as exc:
        for problem in exc.problems:
            where = file if problem.where == file else f"{file}: {problem.where}"
            problems.append(Problem(where, problem.what))
        return None, problems


def build(settings: Settings, *, clock: Callable[[], float], rng: Random) -> App:
    """A server for `settings`, with nothing started yet. `clock` gives monotonic seconds, the event loop's own.

    Errors: ConfigError with every problem that would keep it from serving as asked.
    """
    source, problems = read_inputs(settings)
    problems = [*missing_for_start(settings), *problems]
    if problems or source is None:
        raise ConfigError("settings", problems)
    return App(settings, source, clock=clock, rng=rng)
