"""When each endpoint is asked for its models: at once, then at intervals, and in extra rounds on demand."""

import asyncio
from collections.abc import Callable, Collection
from random import Random
from typing import Protocol

from extproc.probes.client import Client, ProbeError
from extproc.probes.ticks import JITTER, tick_s, until_tick_s
from extproc.registry.changes import Failure, FirstAnswerOverdue, ModelsListed, ProbeFailed, RoundCompleted
from extproc.registry.store import Store
from extproc.settings.schema import ModelProbeSettings
from extproc.telemetry.logs import Log
from extproc.values.endpoint import Endpoint
from extproc.values.snapshot import EndpointState, Snapshot

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0
ROUND_SPACING_S = 0.2
"""Extra rounds start at least this far apart; a little less than the age at which the director calls them stale."""
ROUND_PROBES_PER_S = 400
"""Extra rounds ask no more than this many endpoints a second on average, however many clients name unknown models."""
REGULAR_PROBES_PER_S = 400
"""The interval grows with a pool that would need more: a probe takes half a millisecond of a core."""
ROUND_TIMEOUT_S = 1.0
PROBES_AT_ONCE = 256
PROBES_AT_A_TURN = 16
"""So many begin before the event loop turns to others, however many are due: requests would feel thousands."""
KIND = "models"

_log = Log("probes.models")


def round_spacing_s(endpoints: int) -> float:
    """Seconds between the starts of two extra rounds that each ask this many endpoints."""
    return max(ROUND_SPACING_S, endpoints / ROUND_PROBES_PER_S)


def regular_interval_s(interval_s: float, endpoints: int) -> float:
    """Seconds between two regular probes of an endpoint, in a pool of this many."""
    return max(interval_s, endpoints / REGULAR_PROBES_PER_S)


class ProbeMeters(Protocol):
    """Where probes record what they see."""

    def observe_probe(self, kind: str, seconds: float) -> None:
        """Records an answered probe."""

    def count_probe_failure(self, kind: str, reason: str) -> None:
        """Records a failed one."""


class _Watch:
    """The task that probes one endpoint, and the event that makes it probe now."""

    def __init__(self) -> None:
        self.hurry = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class ModelProber:
    """Keeps the registry's model lists fresh.

    A new endpoint is probed at once and then, backing off from 100 ms to 2 s, until it answers; after that at every
    interval. One that stops being routable is probed again at once. While connections fail, the back-off stays at
    100 ms until the endpoint is suspect: three failures must fit into a second. When no connection to one comes about,
    the others of its node are probed at once: a node dies with all of them.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        settings: ModelProbeSettings,
        meters: ProbeMeters,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._meters = meters
        self._clock = clock
        self._rng = rng
        self._watches: dict[str, _Watch] = {}
        self._slots = asyncio.Semaphore(PROBES_AT_ONCE)
        self._round_wanted = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        """The probes' tasks while it runs."""

    def __repr__(self) -> str:
        return f"<ModelProber of {len(self._watches)} endpoints>"

    def request_round(self) -> None:
        """Asks for every endpoint to be probed soon. Requests for a round that has not begun yet are one."""
        self._round_wanted.set()

    def configure(self, settings: ModelProbeSettings) -> None:
        """Probes as `settings` say from now on, at first every endpoint: nobody knows how they answer now."""
        self._settings = settings
        if self._group is not None:
            self._group.create_task(self._hurry_all(), name="every endpoint by the new settings")

    async def run(self) -> None:
        """Probes for ever."""
        async with asyncio.TaskGroup() as tasks:
            unsubscribe = self._store.subscribe(lambda *change: self._follow(tasks, *change))
            self._group = tasks
            try:
                snapshot = self._store.snapshot
                self._follow(tasks, Snapshot(snapshot.pool), snapshot, snapshot.endpoints.keys())
                while True:
                    await self._round_wanted.wait()
                    self._round_wanted.clear()
                    tasks.create_task(self._probe_all(), name="extra round of probes")
                    await asyncio.sleep(round_spacing_s(len(self._watches)))
            finally:
                self._group = None
                unsubscribe()

    def _follow(self, tasks: asyncio.TaskGroup, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        for id_ in ids:
            old, state = before.endpoints.get(id_), after.endpoints.get(id_)
            if state is None or old is None or begins_anew(old, state):
                # One that begins anew has its whole budget before it, and no old probe to wait for.
                if (watch := self._watches.pop(id_, None)) is not None and watch.task is not None:
                    watch.task.cancel()
                if state is not None:
                    watch = self._watches[id_] = _Watch()
                    watch.task = tasks.create_task(self._watch(state.endpoint, watch.hurry), name=f"probes of {id_}")
            elif old.is_confirmed and not state.is_confirmed and state.source_says_ready is not False:
                self._watches[id_].hurry.set()

    async def _watch(self, endpoint: Endpoint, hurry: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        overdue = loop.call_later(self._settings.first_answer_budget_s, self._say_overdue, endpoint)
        backoff_s, was_well, settings = FIRST_BACKOFF_S, False, self._settings
        try:
            while True:
                hurry.clear()
                if settings is not self._settings:
                    was_well, settings = False, self._settings
                await self._probe(endpoint, settings.timeout_s)
                state = self._store.snapshot.endpoints.get(endpoint.id)
                if state is not None and _is_well(state):
                    delay_s = regular_interval_s(settings.interval_s, len(self._watches))
                    # Those that came at once would be probed at once ever after: the first interval is any part of one.
                    delay_s *= 1.0 if was_well else self._rng.random()
                    delay_s = self._until_tick_s(delay_s * self._jitter())
                    backoff_s, was_well = FIRST_BACKOFF_S, True
                else:
                    delay_s = backoff_s * self._jitter()
                    if state is None or state.is_suspect or not state.connect_failures_s:
                        backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
                try:
                    async with asyncio.timeout(delay_s):
                        await hurry.wait()
                    backoff_s = FIRST_BACKOFF_S
                except TimeoutError:
                    pass
        finally:
            overdue.cancel()

    def _jitter(self) -> float:
        return self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _until_tick_s(self, pause_s: float) -> float:
        endpoints = len(self._watches)
        tick = tick_s(regular_interval_s(self._settings.interval_s, endpoints), endpoints)
        return until_tick_s(pause_s, now=self._clock(), tick=tick)

    async def _hurry_all(self) -> None:
        for index, watch in enumerate(list(self._watches.values())):
            watch.hurry.set()
            if index % PROBES_AT_A_TURN == 0:
                await asyncio.sleep(0)

    def _say_overdue(self, endpoint: Endpoint) -> None:
        state = self._store.snapshot.endpoints.get(endpoint.id)
        if state is not None and not state.is_settled:
            self._store.apply(FirstAnswerOverdue(endpoint.id), now=self._clock())

    async def _probe_all(self) -> None:
        started_at_s = self._clock()
        timeout_s = min(ROUND_TIMEOUT_S, self._settings.timeout_s)
        async with asyncio.TaskGroup() as probes:
            for index, state in enumerate(list(self._store.snapshot.endpoints.values())):
                probes.create_task(self._probe(state.endpoint, timeout_s))
                if index % PROBES_AT_A_TURN == 0:
                    await asyncio.sleep(0)
        self._store.apply(RoundCompleted(started_at_s), now=self._clock())

    async def _probe(self, endpoint: Endpoint, timeout_s: float) -> None:
        """One probe, its outcome reported. Nothing that an endpoint answers can end the task that asks."""
        async with self._slots:
            asked_at_s = self._clock()
            change: ModelsListed | ProbeFailed
            try:
                cards = await self._client.list_models(endpoint, timeout_s=timeout_s)
            except ProbeError as exc:
                change = ProbeFailed(endpoint.id, asked_at_s, exc.failure, str(exc))
            except Exception as exc:  # noqa: BLE001 - a defect in reading one answer must not stop the others' probes
                _log.exception("a probe failed in an unforeseen way", endpoint=endpoint.name)
                change = ProbeFailed(endpoint.id, asked_at_s, Failure.INVALID, type(exc).__name__)
            else:
                change = ModelsListed(endpoint.id, asked_at_s, cards)
        now = self._clock()
        if isinstance(change, ModelsListed):
            self._meters.observe_probe(KIND, now - asked_at_s)
        else:
            self._meters.count_probe_failure(KIND, change.failure)
        before = self._store.snapshot.endpoints.get(endpoint.id)
        self._store.apply(change, now=now)
        is_unreachable = isinstance(change, ProbeFailed) and change.failure is Failure.CONNECT
        if is_unreachable and before is not None and not before.connect_failures_s:
            self._hurry_node(before.endpoint.node)

    def _hurry_node(self, node: str) -> None:
        """Has the endpoints of a node that seem to be well probed now. It may be gone: a refusal would have said that
        it is not.
        """
        for id_, state in self._store.snapshot.endpoints.items():
            if node and state.endpoint.node == node and _is_well(state) and id_ in self._watches:
                self._watches[id_].hurry.set()


def begins_anew(before: EndpointState, after: EndpointState) -> bool:
    """True when the source says that it became ready, or is another process."""
    if not after.source_says_ready:
        return False
    return not before.is_ready or before.incarnation != after.incarnation


def _is_well(state: EndpointState) -> bool:
    """True when the next regular probe is soon enough: it is confirmed, and connections to it do not fail."""
    return state.is_routable and not state.connect_failures_s
