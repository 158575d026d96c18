"""What the admin service and its page show, gathered from those who know it."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from extproc import __version__
from extproc.admission.inflight import InFlight
from extproc.director.explain import Explainer
from extproc.registry.store import Store
from extproc.settings.effective import describe_settings
from extproc.settings.load import Loaded
from extproc.telemetry.callers import Callers
from extproc.telemetry.journal import Journal
from extproc.telemetry.metrics import SourceState
from extproc.values import admin
from extproc.values.load import EngineLoad
from extproc.values.request import RequestHead
from extproc.values.snapshot import EndpointState, Snapshot


class Counts(Protocol):
    """What is counted of requests and of sources."""

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """How each source fares, by name."""

    def outcomes(self) -> Mapping[tuple[str, str], int]:
        """Requests by model label and outcome."""


class ConfigInUse(Protocol):
    """The settings in effect."""

    @property
    def loaded(self) -> Loaded:
        """As they were loaded."""

    def file(self) -> admin.ConfigFile | None:
        """The file that they come from, None where there is none."""


class Views:
    """Every view, made anew at each call."""

    def __init__(
        self,
        *,
        store: Store,
        explainer: Explainer,
        readings: Callable[[], Mapping[str, EngineLoad]],
        reading_problem: Callable[[str], str],
        in_flight: InFlight,
        counts: Counts,
        callers: Callers,
        open_streams: Callable[[], int],
        is_ready: Callable[[], bool],
        journal: Journal,
        config: ConfigInUse,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        """`readings`: the last metrics page of each endpoint, by id; `reading_problem`: how the last failed, by id."""
        self._store = store
        self._explainer = explainer
        self._readings = readings
        self._reading_problem = reading_problem
        self._in_flight = in_flight
        self._counts = counts
        self._callers = callers
        self._open_streams = open_streams
        self._is_ready = is_ready
        self.journal = journal
        self._config = config
        self._clock = clock
        self._rng = rng
        self._began_at_s = clock()
        self._inflating = asyncio.Semaphore()
        """One compressed body at a time: each can take a second of a core, and tens of megabytes."""

    def __repr__(self) -> str:
        return f"<Views of {self._store!r}>"

    def snapshot(self, *, most_decisions: int = 0) -> admin.Snapshot:
        """The pool as it is known now, and at most so many of the last decisions."""
        now, snapshot = self._clock(), self._store.snapshot
        readings = self._readings()
        states = sorted(snapshot.endpoints.values(), key=lambda state: (state.endpoint.name, state.endpoint.id))
        return admin.Snapshot(
            pool=str(snapshot.pool),
            extproc_version=__version__,
            uptime_s=now - self._began_at_s,
            version=snapshot.version,
            age_s=now - snapshot.made_at_s,
            is_synced=snapshot.is_synced,
            is_ready=self._is_ready(),
            sources=tuple([self._view_source(name, state, now) for name, state in self._counts.sources.items()]),
            endpoints=tuple([self._view_endpoint(state, readings.get(state.endpoint.id), now) for state in states]),
            models=view_models(snapshot),
            aliases=tuple(
                [
                    admin.Alias(name, tuple([admin.Target(each.model, each.weight) for each in alias.targets]))
                    for name, alias in snapshot.aliases.items()
                ]
            ),
            objectives=dict(snapshot.objectives),
            open_streams=self._open_streams(),
            callers=tuple(self._callers.seen()),
            outcomes=tuple(
                [admin.Outcome(model, outcome, count) for (model, outcome), count in self._counts.outcomes().items()]
            ),
            changes=self.journal.changes(),
            config_file=self._config.file(),
            decisions=self.journal.decisions(most=most_decisions) if most_decisions else (),
        )

    async def explain(self, head: RequestHead, body: bytes) -> admin.Explanation:
        """Where this request would go now, and why. A compressed body is read in a thread, as that of a real one is."""
        now, parsed = self._clock(), None
        if "content-encoding" in head.headers:
            async with self._inflating:
                parsed = await asyncio.to_thread(self._explainer.read, head, body, now=now)
        snapshot = self._store.snapshot
        return self._explainer.explain(head, body, snapshot, now=now, rng=self._rng, parsed=parsed)

    def config(self) -> admin.Config:
        """The settings in effect."""
        return describe_settings(self._config.loaded, self._config.file())

    def _view_source(self, name: str, state: SourceState, now: float) -> admin.Source:
        age_s = None if state.read_at_s is None else now - state.read_at_s
        return admin.Source(name, state.is_connected, age_s, state.problems)

    def _view_endpoint(self, state: EndpointState, reading: EngineLoad | None, now: float) -> admin.Endpoint:
        id_ = state.endpoint.id
        answered_at_s = self._store.answered_at_s(id_)
        return view_endpoint(
            state,
            probe_age_s=None if answered_at_s is None else now - answered_at_s,
            load=None if reading is None else _view_load(reading, now),
            load_problem=self._reading_problem(id_),
            in_flight=self._in_flight.count(id_) if self._in_flight.is_exact else None,
        )


def view_endpoint(
    state: EndpointState,
    *,
    probe_age_s: float | None = None,
    load: admin.Load | None = None,
    load_problem: str = "",
    in_flight: int | None = None,
) -> admin.Endpoint:
    """An endpoint as its pool's snapshot has it, with what others know of it."""
    endpoint = state.endpoint
    return admin.Endpoint(
        id=endpoint.id,
        name=endpoint.name,
        address=endpoint.address,
        node=endpoint.node,
        role=endpoint.role,
        engine=endpoint.engine,
        is_ready=state.is_ready,
        is_confirmed=state.is_confirmed,
        is_suspect=state.is_suspect,
        models=tuple([card.id for card in state.cards]),
        probe_age_s=probe_age_s,
        problem=state.problem,
        load=load,
        load_problem=load_problem,
        in_flight=in_flight,
    )


def view_models(snapshot: Snapshot) -> tuple[admin.Model, ...]:
    """Every model, with the names of the endpoints that may get its requests, suspects among them."""
    return tuple(
        [
            admin.Model(
                id_,
                known.card.parent or "",
                tuple(sorted(each.name for each in (*known.candidates, *known.suspects))),
            )
            for id_, known in snapshot.models.items()
        ]
    )


def _view_load(reading: EngineLoad, now: float) -> admin.Load:
    adapters = tuple(sorted(reading.adapters.running)) if reading.adapters is not None else ()
    return admin.Load(now - reading.asked_at_s, reading.waiting, reading.running, reading.kv_used_ratio, adapters)
