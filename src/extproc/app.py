"""The composition root: from settings to a running server, wired top to bottom."""

import asyncio
import math
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, NamedTuple

import grpc
from grpc_reflection.v1alpha import reflection

from extproc import __version__
from extproc.admission.held import HeldBytes
from extproc.director.decider import Decider
from extproc.director.explain import Explainer
from extproc.errors import ConfigError, MissingError, Problem
from extproc.probes.client import Client, find_problems
from extproc.probes.metrics import LoadProber
from extproc.probes.models import ModelProber
from extproc.protocol.codec import SERVICE_NAME
from extproc.protocol.events import BodyMode
from extproc.protocol.plan import Policy
from extproc.registry.changes import NamesListed
from extproc.registry.store import Store
from extproc.servers import health
from extproc.servers.admin.server import AdminServer
from extproc.servers.admin.views import Views
from extproc.servers.decisions import Decisions
from extproc.servers.ext_proc import ExtProcService
from extproc.servers.health import Health
from extproc.servers.listen import build_grpc_server, open_port
from extproc.servers.metrics_http import MetricsServer
from extproc.servers.tls import Certificate, load_certificate
from extproc.settings.load import Loaded
from extproc.settings.schema import Settings
from extproc.sources.choice import Source, open_source
from extproc.telemetry.callers import Callers
from extproc.telemetry.changes import join_names
from extproc.telemetry.journal import Journal
from extproc.telemetry.logs import Log, log_changes, log_decision
from extproc.telemetry.metrics import Metrics
from extproc.values.admin import ConfigFile
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

QUIET_S = 1.0
"""A stopping server that saw no new stream for this long after its delay is no longer being sent any."""

LEAST_RECEIVE_BYTES = 128 << 20
"""A message from Envoy can be a body as large as the listener's buffer, however little of it is allowed here."""

_log = Log("app")


class App:
    """A server: start, main loop, shutdown. Build it with `build`."""

    def __init__(
        self,
        loaded: Loaded,
        source: Source,
        certificate: Certificate | None,
        *,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._loaded = loaded
        settings = self._settings = loaded.settings
        self._source = source
        self._certificate = certificate
        self._clock = clock
        names = NamesListed(settings.requests.build_aliases(), settings.admission.objectives)
        self._store = Store(source.pool, now=clock(), configured=names)
        decider = Decider(settings)
        self._decider = decider
        self._metrics = Metrics(
            knowledge=self._store,
            in_flight=decider.in_flight,
            clock=clock,
            version=__version__,
            loads=decider.loads.readings,
        )
        self._client = Client(settings.probes)
        self._prober = ModelProber(
            store=self._store,
            client=self._client,
            settings=settings.probes.models,
            meters=self._metrics,
            clock=clock,
            rng=rng,
        )
        self._load_prober = LoadProber(
            store=self._store,
            client=self._client,
            settings=settings.probes.metrics,
            report=self._take_reading,
            meters=self._metrics,
            clock=clock,
            rng=rng,
        )
        self._journal = Journal(clock=clock, wall_clock=wall_clock)
        decisions = Decisions(
            director=decider.director,
            store=self._store,
            routes=decider,
            request_round=self._prober.request_round,
            metrics=self._metrics,
            max_body_bytes=settings.requests.max_body_bytes,
            message_timeout_s=settings.envoy.message_timeout_s,
            clock=clock,
            rng=rng,
            session_header=settings.scheduling.session_header,
            observers=(log_decision, self._journal.note_decision),
        )
        callers = Callers(clock=clock)
        self._ext_proc = ExtProcService(
            decisions=decisions,
            find_endpoint=self._store.endpoint_at,
            budget=HeldBytes(settings.requests.max_held_bytes),
            in_flight=decider.in_flight,
            metrics=self._metrics,
            callers=callers,
            policy=Policy(
                max_body_bytes=settings.requests.max_body_bytes,
                request_body=BodyMode[settings.envoy.request_body_mode],
                response_body=BodyMode[settings.envoy.response_body_mode],
                response_phase=settings.envoy.response_phase,
                body_answer=settings.envoy.request_body_answer,
                allows_mode_override=settings.envoy.allow_mode_override,
            ),
            decision_timeout_s=settings.envoy.decision_timeout_s,
            learn_tokens=decider.loads.tokens.learn,
            reads_usage=settings.envoy.read_usage,
            clock=clock,
            further_headers=filter(None, (settings.scheduling.session_header,)),
        )
        self._health = Health()
        self._metrics_server = MetricsServer(self._metrics.registry)
        views = Views(
            store=self._store,
            explainer=Explainer(decider),
            readings=decider.loads.readings,
            reading_problem=self._load_prober.problem_of,
            in_flight=decider.in_flight,
            counts=self._metrics,
            callers=callers,
            open_streams=lambda: self._ext_proc.open_streams,
            is_ready=lambda: self._health.is_ready,
            journal=self._journal,
            config=self,
            clock=clock,
            rng=rng,
        )
        self._admin = AdminServer(views, settings.admin)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._is_complete = asyncio.Event()
        self._due: set[str] = set()
        """Ids of the endpoints whose first probe is waited for."""
        self._store.subscribe(log_changes)
        self._store.subscribe(self._journal.note_changes)
        self._store.subscribe(partial(_forget, decider))
        self._store.subscribe(self._doubt_suspects)
        self._store.subscribe(self._note_complete)

    def __repr__(self) -> str:
        return f"<App {self._source!r}>"

    @property
    def loaded(self) -> Loaded:
        """The settings in effect, and where they come from."""
        return self._loaded

    def file(self) -> ConfigFile | None:
        """The file that the settings in effect come from."""
        return None

    def stop(self) -> None:
        """Asks the server to stop in peace; asked again, at once."""
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def run(self) -> None:
        """Serves until stopped by SIGTERM, SIGINT or `stop`.

        Errors: PortInUseError before anything is served.
        """
        with _signals_call(self.stop):
            await self._serve()

    async def _serve(self) -> None:
        server = self._settings.server
        # One chunk in full duplex can be as large as the gateway's buffer: what is over our limit gets a 413 from us,
        # not a broken stream from gRPC, up to twice the limit.
        grpc_server = build_grpc_server(
            max_receive_bytes=max(2 * self._settings.requests.max_body_bytes, LEAST_RECEIVE_BYTES) + (1 << 20),
            max_age_s=server.max_connection_age_s,
            max_age_grace_s=server.max_connection_age_grace_s,
        )
        health_server = build_grpc_server()
        await self._health.start()
        self._ext_proc.add_to(grpc_server)
        for each in (grpc_server, health_server):
            self._health.add_to(each)
        names = (health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection((SERVICE_NAME, *names), grpc_server)
        reflection.enable_server_reflection(names, health_server)
        address = server.listen_address
        certificate = self._certificate
        try:
            ports = {
                "grpc": open_port(
                    grpc_server,
                    address,
                    server.grpc_port,
                    purpose="ext_proc",
                    setting="grpc-port",
                    credentials=certificate and certificate.build_credentials(),
                ),
                "health": open_port(
                    health_server, address, server.grpc_health_port, purpose="health", setting="grpc-health-port"
                ),
                "metrics": await self._metrics_server.start(address, server.metrics_port),
                **await self._admin.start(),
            }
            await grpc_server.start()
            await health_server.start()
            async with self._client, asyncio.TaskGroup() as tasks:
                coroutines = {
                    "probes": self._prober.run(),
                    "readings": self._load_prober.run(),
                    "source": self._source.run(self._report, self._metrics),
                }
                if certificate is not None and server.cert_path and server.enable_cert_reload:
                    coroutines["certificate"] = certificate.run()
                eternal = [
                    tasks.create_task(_never_return(coroutine, name), name=name)
                    for name, coroutine in coroutines.items()
                ]
                ready = tasks.create_task(self._become_ready(), name="readiness")
                tls = certificate.origin if certificate is not None else "off"
                _log.info("serving", version=__version__, pool=self._source.pool, address=address, **ports, tls=tls)
                await self._stop.wait()
                ready.cancel()
                await self._leave()
                self._ext_proc.dismiss_resting()
                await self._drain(grpc_server)
                for task in eternal:
                    task.cancel()
        finally:
            await grpc_server.stop(0)
            await health_server.stop(0)
            await self._metrics_server.stop()
            await self._admin.stop()
        _log.info("stopped")

    async def _become_ready(self) -> None:
        await self._is_complete.wait()
        await self._health.set_ready(True)
        snapshot = self._store.snapshot
        endpoints = f"{len(snapshot.routable)}/{len(snapshot.endpoints)}"
        _log.info("ready", endpoints=endpoints, models=join_names(list(snapshot.models)))

    async def _leave(self) -> None:
        """Says that requests should go elsewhere, and serves those that still come.

        Data planes learn late: a server that refuses at once fails what they send meanwhile. One that still gets
        streams after the delay goes on until a second passed without a new one, at most for the delay again.
        """
        await self._health.set_ready(False)
        # One that nobody was told of, and nobody found, does not wait.
        is_known = self._is_complete.is_set() or math.isfinite(self._ext_proc.last_stream_at_s)
        delay_s = self._settings.server.drain_delay_s if is_known else 0.0
        _log.info("stopping", drain_delay_s=delay_s, streams=self._ext_proc.open_streams)
        asked_at_s = self._clock()
        while not self._stop_now.is_set():
            now = self._clock()
            quiet_at_s = max(asked_at_s + delay_s, self._ext_proc.last_stream_at_s + QUIET_S)
            remaining_s = min(quiet_at_s, asked_at_s + 2 * delay_s) - now
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
        stop = grpc_server.stop(self._settings.server.drain_timeout_s)
        draining = asyncio.create_task(stop, name="drain")
        ends = [
            asyncio.create_task(self._stop_now.wait(), name="second signal"),
            asyncio.create_task(self._ext_proc.wait_idle(), name="no request is open"),
        ]
        try:
            await asyncio.wait((draining, *ends), return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                await grpc_server.stop(0)
            await draining
        finally:
            for task in (draining, *ends):
                task.cancel()

    def _doubt_suspects(self, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        for id_ in ids:
            old, state = before.endpoints.get(id_), after.endpoints.get(id_)
            if state is not None and state.is_suspect and state.is_ready and not (old is not None and old.is_suspect):
                self._source.doubt(id_)

    def _note_complete(self, _before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        """As `Snapshot.is_complete` says, without a look at every endpoint at each first answer of thousands."""
        if self._is_complete.is_set():
            return
        for id_ in ids:
            state = after.endpoints.get(id_)
            is_due = state is not None and state.is_awaited and not state.is_probed
            (self._due.add if is_due else self._due.discard)(id_)
        if after.is_synced and not self._due:
            self._is_complete.set()

    def _take_reading(self, endpoint_id: str, reading: EngineLoad) -> None:
        if endpoint_id not in self._store.snapshot.endpoints:
            return
        self._decider.loads.staleness_s = self._load_prober.staleness_s
        self._decider.report(endpoint_id, reading, now=self._clock())

    def _report(self, change: Any) -> None:
        self._store.apply(change, now=self._clock())


@contextmanager
def _signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Within it SIGTERM and SIGINT call `stop` on the event loop; then they do again what they did before.

    The loop's own handlers would leave the system's default behind them, by which a last signal kills a process that
    has stopped in peace and is about to exit.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _forget(decider: Decider, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
    """What endpoints had in mind goes with them: those that are gone, and those that may be other processes by now."""
    for id_ in ids:
        old, state = before.endpoints.get(id_), after.endpoints.get(id_)
        if old is None:
            continue
        if state is None or (old.is_ready and not state.is_ready) or old.incarnation != state.incarnation:
            decider.forget(id_)


async def _never_return(coroutine: Coroutine[Any, Any, None], name: str) -> None:
    await coroutine
    raise RuntimeError(f"the task {name!r} ended")


def _find_missing(settings: Settings) -> list[Problem]:
    """What a server must still be told before it can start."""
    source = settings.source
    if source.endpoints_file or source.pool_name or source.endpoint_selector or source.dns_name:
        return []
    what = "is required, or --endpoint-selector, --dns-name or --endpoints-file: where the pool's endpoints are"
    return [Problem("--pool-name", what)]


class Inputs(NamedTuple):
    """What the settings name, and everything wrong with it."""

    source: Source | None
    """None where none is named, or it is wrong."""
    certificate: Certificate | None
    """None for plaintext, or where it is wrong."""
    problems: list[Problem]
    missing: list[Problem]
    """What a server must still be told, or be given, before it can start."""


def read_inputs(settings: Settings, *, environ: Mapping[str, str], clock: Callable[[], float], rng: Random) -> Inputs:
    """Reads what the settings name. `environ` is the process's environment."""
    problems = find_problems(settings.probes)
    missing = _find_missing(settings)
    source, certificate = None, None
    try:
        certificate = load_certificate(settings.server)
    except ConfigError as exc:
        problems.extend(exc.problems)
    try:
        source = open_source(settings.source, environ=environ, clock=clock, rng=rng)
    except MissingError as exc:
        missing.extend(exc.problems)
    except ConfigError as exc:
        file = settings.source.endpoints_file
        for problem in exc.problems:
            where = problem.where if not file or problem.where == file else f"{file}: {problem.where}"
            problems.append(Problem(where, problem.what))
    return Inputs(source, certificate, problems, missing)


def build(
    loaded: Loaded,
    *,
    environ: Mapping[str, str],
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    rng: Random,
) -> App:
    """A server for the settings that were loaded, with nothing started yet. `clock` gives monotonic seconds, the event
    loop's own; `wall_clock` those since 1970.

    Errors: ConfigError with every problem that would keep it from serving as asked.
    """
    source, certificate, problems, missing = read_inputs(loaded.settings, environ=environ, clock=clock, rng=rng)
    if problems or missing or source is None:
        raise ConfigError("settings", [*missing, *problems])
    return App(loaded, source, certificate, clock=clock, wall_clock=wall_clock, rng=rng)
