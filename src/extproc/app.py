"""The composition root: from settings to a running server, wired top to bottom."""

import asyncio
import math
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from random import Random
from typing import Any

from grpc_reflection.v1alpha import reflection

from extproc import __version__
from extproc.admission.held import HeldBytes
from extproc.director.decider import Decider
from extproc.director.explain import Explainer
from extproc.errors import ConfigError
from extproc.inputs import prepare_edit, read_inputs
from extproc.probes.client import Client, Manner
from extproc.probes.metrics import LoadProber
from extproc.probes.models import ModelProber
from extproc.protocol.codec import SERVICE_NAME
from extproc.registry.changes import NamesListed
from extproc.registry.store import Store
from extproc.servers import health
from extproc.servers.admin.server import AdminServer
from extproc.servers.admin.views import Views
from extproc.servers.decisions import Decisions
from extproc.servers.departure import drain, serve_latecomers
from extproc.servers.ext_proc import ExtProcService
from extproc.servers.health import Health
from extproc.servers.listen import build_grpc_server, open_port
from extproc.servers.metrics_http import MetricsServer
from extproc.servers.signals import signals_call
from extproc.servers.terms import terms_of
from extproc.servers.tls import Certificate
from extproc.settings.load import Loaded
from extproc.settings.schema import Settings
from extproc.sources.choice import Source
from extproc.sources.config_file import ConfigInUse
from extproc.telemetry.callers import Callers
from extproc.telemetry.changes import join_names, telling
from extproc.telemetry.collector import Collector
from extproc.telemetry.journal import Journal
from extproc.telemetry.logs import Log, configure_logs, log_changes, log_decision
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.metrics.loop_delay import watch_loop
from extproc.telemetry.tracing import Tracing
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

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
        collector: Collector | None,
        *,
        prepare_edit: Callable[[Settings], Manner],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        rng: Random,
    ) -> None:
        settings = loaded.settings
        self._source = source
        self._certificate = certificate
        self._clock = clock
        self._store = Store(source.pool, now=clock(), configured=_names_in(settings))
        decider = Decider(settings)
        self._decider = decider
        self._budget = HeldBytes(settings.requests.max_held_bytes)
        self._metrics = Metrics(
            knowledge=self._store,
            in_flight=decider.in_flight,
            clock=clock,
            version=__version__,
            loads=decider.loads,
            held=self._budget,
            prefixes=decider.prefixes,
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
        observers = [log_decision, self._journal.note_decision]
        self._tracing: AbstractAsyncContextManager[Tracing | None] = nullcontext()
        if collector is not None:
            ratio = settings.telemetry.tracing.sample_ratio
            self._tracing = tracing = Tracing(
                collector,
                pool=str(source.pool),
                version=__version__,
                sample_ratio=ratio,
                clock=clock,
                wall_clock=wall_clock,
                rng=rng,
            )
            observers.append(tracing.note_decision)
            self._metrics.spans_dropped = lambda: tracing.dropped
        decisions = Decisions(
            store=self._store,
            routes=decider,
            request_round=self._prober.request_round,
            metrics=self._metrics,
            clock=clock,
            rng=rng,
            observers=observers,
        )
        callers = Callers(clock=clock)
        self._terms = terms_of(settings, decider.director)
        self._ext_proc = ExtProcService(
            decisions=decisions,
            find_endpoint=self._store.endpoint_at,
            budget=self._budget,
            in_flight=decider.in_flight,
            metrics=self._metrics,
            callers=callers,
            terms=self._terms,
            learn_tokens=decider.loads.tokens.learn,
            clock=clock,
        )
        self._config = ConfigInUse(
            loaded,
            prepare=prepare_edit,
            take_over=self._take_over,
            meters=self._metrics,
            notes=self._journal,
            clock=clock,
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
            config=self._config,
            clock=clock,
            rng=Random(rng.random()),  # noqa: S311 - its own: to explain changes nothing, not even the next draw
        )
        self._admin = AdminServer(views, settings.admin)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._is_complete = asyncio.Event()
        self._due: set[str] = set()
        """Ids of the endpoints whose first probe is waited for."""
        self._store.subscribe(telling(log_changes, self._journal.note_changes))
        self._store.subscribe(partial(_forget, decider))
        self._store.subscribe(self._doubt_suspects)
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
        with signals_call(self.stop):
            await self._serve()

    async def _serve(self) -> None:
        settings = self._config.loaded.settings
        server = settings.server
        # One chunk in full duplex can be as large as the gateway's buffer: what is over our limit gets a 413 from us,
        # not a broken stream from gRPC, up to twice the limit.
        grpc_server = build_grpc_server(
            max_receive_bytes=max(2 * settings.requests.max_body_bytes, LEAST_RECEIVE_BYTES) + (1 << 20),
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
            async with self._tracing, self._client, asyncio.TaskGroup() as tasks:
                coroutines = {
                    "probes": self._prober.run(),
                    "readings": self._load_prober.run(),
                    "config": self._config.run(),
                    "source": self._source.run(self._report, self._metrics),
                    "loop delay": watch_loop(self._metrics.observe_loop_delay, clock=self._clock),
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
                timeout_s = self._config.loaded.settings.server.drain_timeout_s
                await drain(grpc_server, self._ext_proc, timeout_s=timeout_s, stop_now=self._stop_now)
                for task in eternal:
                    task.cancel()
        finally:
            await grpc_server.stop(0)
            await health_server.stop(0)
            await self._metrics_server.stop()
            await self._admin.stop()
        _log.info("stopped")

    def _take_over(self, settings: Settings, manner: Manner) -> None:
        """Other settings, those that count at a start only as before. Nothing is awaited here: whatever begins sees all
        of them, or none. What is known and kept in mind stays.
        """
        before = self._config.loaded.settings
        self._decider.configure(settings)
        self._terms.retire(self._store.snapshot)
        self._terms = terms_of(settings, self._decider.director)
        self._ext_proc.configure(self._terms)
        self._budget.limit_bytes = settings.requests.max_held_bytes
        self._store.configure(_names_in(settings), now=self._clock())
        probes = settings.probes
        if probes != before.probes:
            self._client.configure(manner)
            is_other = probes.model_copy(update={"models": before.probes.models, "metrics": before.probes.metrics})
            if is_other != before.probes or probes.models != before.probes.models:
                self._prober.configure(probes.models)
            if is_other != before.probes or probes.metrics != before.probes.metrics:
                self._load_prober.configure(probes.metrics)
        if settings.telemetry != before.telemetry:
            configure_logs(settings.telemetry)

    async def _become_ready(self) -> None:
        await self._is_complete.wait()
        await self._health.set_ready(True)
        snapshot = self._store.snapshot
        endpoints = f"{len(snapshot.routable)}/{len(snapshot.endpoints)}"
        _log.info("ready", endpoints=endpoints, models=join_names(list(snapshot.models)))

    async def _leave(self) -> None:
        """Says that requests should go elsewhere, and serves those that still come."""
        await self._health.set_ready(False)
        # One that nobody was told of, and nobody found, does not wait.
        is_known = self._is_complete.is_set() or math.isfinite(self._ext_proc.last_stream_at_s)
        delay_s = self._config.loaded.settings.server.drain_delay_s if is_known else 0.0
        _log.info("stopping", drain_delay_s=delay_s, streams=self._ext_proc.open_streams)
        await serve_latecomers(self._ext_proc, delay_s=delay_s, stop_now=self._stop_now, clock=self._clock)

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


def _names_in(settings: Settings) -> NamesListed:
    return NamesListed(settings.requests.build_aliases(), settings.admission.objectives)


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
    inputs = read_inputs(loaded.settings, environ=environ, clock=clock, rng=rng)
    if inputs.problems or inputs.missing or inputs.source is None:
        raise ConfigError("settings", [*inputs.missing, *inputs.problems])
    for problem in inputs.waived:
        _log.warning("nothing is traced: what the environment says of the collector cannot be used", problem=problem)
    return App(
        loaded,
        inputs.source,
        inputs.certificate,
        inputs.collector,
        prepare_edit=partial(prepare_edit, started=loaded.settings, environ=environ, clock=clock, rng=rng),
        clock=clock,
        wall_clock=wall_clock,
        rng=rng,
    )
