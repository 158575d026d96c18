"""When each endpoint's metrics page is read: at intervals, which grow with the pool, and less often where it fails."""

import asyncio
from collections.abc import Callable, Collection
from random import Random

from extproc.probes.client import Client, ProbeError
from extproc.probes.models import ProbeMeters, begins_anew
from extproc.probes.scan import scan
from extproc.registry.changes import Failure
from extproc.registry.store import Store
from extproc.settings.schema import MetricsProbeSettings
from extproc.telemetry.logs import Log
from extproc.values.duration import format_duration
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

READINGS_PER_S = 500
"""The interval grows with a pool that would need more: a reading of 60 KB takes 0.65 ms of a core, and with twice as
many a pool of 5,000 pods that change left no time for picks. Source: docs/performance.md, P6 and p-pods."""
JITTER = 0.1
READINGS_AT_A_TICK = 8
"""Readings begin together, some at a time: 100 endpoints' cost 0.6 ms each when each wakes everybody up by itself, and
0.4 ms so. Of more at a time requests would feel it."""
LONGEST_TICK_S = 0.05
LONGEST_BACKOFF_S = 5.0
LONGEST_BACKOFF_WITHOUT_PAGE_S = 30.0
"""Of an engine that answers 404."""
READINGS_AT_ONCE = 256
NOTABLE_CHANGE = 1.1
"""Factor by which the interval in use must have changed to be told again."""
FRESH_INTERVALS = 2
"""A reading that is not older than so many intervals is as new as can be had."""
TELL_EVERY_S = 10.0
"""That the load of endpoints is not known is logged at most so often."""
KIND = "metrics"

_log = Log("probes.metrics")


def reading_interval_s(interval_s: float, endpoints: int) -> float:
    """Seconds between two readings of an endpoint, in a pool of this many."""
    return max(interval_s, endpoints / READINGS_PER_S)


def tick_s(interval_s: float, endpoints: int) -> float:
    """Seconds between the moments at which readings begin: no longer than the jitter, of which they take away."""
    return min(interval_s * JITTER, interval_s * READINGS_AT_A_TICK / max(endpoints, 1), LONGEST_TICK_S)


def until_tick_s(pause_s: float, *, now: float, tick: float) -> float:
    """Seconds from `now` to the tick that is nearest to the end of a pause."""
    return max(0.0, round((now + pause_s) / tick) * tick - now)


class Pauses:
    """How long one endpoint is left alone between readings."""

    def __init__(self) -> None:
        self._failures = 0

    def after_reading(self, interval_s: float) -> float:
        """Seconds to the next reading after a good one."""
        self._failures = 0
        return interval_s

    def after_failure(self, failure: ProbeError, interval_s: float) -> float:
        """Seconds to the next reading after one that failed: they double, and are never shorter than the interval."""
        self._failures += 1
        longest_s = LONGEST_BACKOFF_WITHOUT_PAGE_S if failure.status == 404 else LONGEST_BACKOFF_S
        return max(interval_s, min(interval_s * 2.0 ** min(self._failures, 64), longest_s))


class LoadProber:
    """Reads what engines publish of their load, and reports each reading that says something.

    A failed reading is counted and otherwise nothing: what an endpoint serves, and whether it is ready, is for others
    to find out. The pauses of one that fails double, up to 5 s, or to 30 s where it has no such page. When an endpoint
    begins anew, so does its reading: an answer that its former life still owes is not reported.
    """

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        settings: MetricsProbeSettings,
        report: Callable[[str, EngineLoad], None],
        meters: ProbeMeters,
        clock: Callable[[], float],
        rng: Random,
    ) -> None:
        self._store = store
        self._client = client
        self._settings = settings
        self._report = report
        self._meters = meters
        self._clock = clock
        self._rng = rng
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By endpoint id."""
        self._unread: dict[str, ProbeError] = {}
        """How the last reading of an endpoint failed, by its id, of those where it did."""
        self._tell_next_at_s = float("-inf")
        self._slots = asyncio.Semaphore(READINGS_AT_ONCE)
        self._told_interval_s = settings.interval_s
        self._group: asyncio.TaskGroup | None = None
        """The readings' tasks while it runs."""

    def __repr__(self) -> str:
        return f"<LoadProber of {len(self._tasks)} endpoints>"

    @property
    def interval_s(self) -> float:
        """Seconds between two readings of an endpoint, in a pool of the present size."""
        return reading_interval_s(self._settings.interval_s, len(self._tasks))

    @property
    def staleness_s(self) -> float:
        """Age in seconds from which a reading counts less and less, in a pool of the present size."""
        return max(self._settings.staleness_s, FRESH_INTERVALS * self.interval_s)

    def problem_of(self, endpoint_id: str) -> str:
        """How the last reading of an endpoint failed, empty where it did not."""
        failure = self._unread.get(endpoint_id)
        return "" if failure is None else str(failure)

    def configure(self, settings: MetricsProbeSettings) -> None:
        """Reads as `settings` say from now on. What was read before is kept by whoever was told of it."""
        self._settings = settings
        self._told_interval_s = settings.interval_s
        if self._group is not None:
            self._begin(self._group)

    async def run(self) -> None:
        """Reads for ever; nothing while the interval is 0."""
        async with asyncio.TaskGroup() as tasks:
            unsubscribe = self._store.subscribe(lambda *change: self._follow(tasks, *change))
            self._group = tasks
            try:
                self._begin(tasks)
                await asyncio.Event().wait()
            finally:
                self._group = None
                unsubscribe()

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begins with every endpoint anew."""
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()
        self._unread.clear()
        snapshot = self._store.snapshot
        self._follow(tasks, Snapshot(snapshot.pool), snapshot, snapshot.endpoints.keys())
        if self._settings.interval_s == 0:
            _log.info("no metrics of endpoints are read", interval="0s")

    def _follow(self, tasks: asyncio.TaskGroup, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        for id_ in ids:
            old, state = before.endpoints.get(id_), after.endpoints.get(id_)
            if state is None or old is None or begins_anew(old, state):
                if (task := self._tasks.pop(id_, None)) is not None:
                    task.cancel()
                    self._unread.pop(id_, None)
                if state is not None and self._settings.interval_s:
                    self._tasks[id_] = tasks.create_task(self._watch(id_), name=f"load of {id_}")
        self._tell_interval()

    def _tell_interval(self) -> None:
        shorter_s, longer_s = sorted((self.interval_s, self._told_interval_s))
        if longer_s > NOTABLE_CHANGE * shorter_s:
            self._told_interval_s = self.interval_s
            _log.info(
                "metrics are read at another interval, for the size of the pool",
                interval=format_duration(round(self.interval_s, 3)),
                wanted=format_duration(self._settings.interval_s),
                endpoints=len(self._tasks),
            )

    async def _watch(self, id_: str) -> None:
        """Reads one endpoint for ever. The first reading is at any moment of an interval, to spread those of a pool."""
        pauses = Pauses()
        pause_s = self._rng.random() * self.interval_s
        while True:
            tick = tick_s(self.interval_s, len(self._tasks))
            await asyncio.sleep(until_tick_s(pause_s, now=self._clock(), tick=tick))
            try:
                load = await self._read(id_)
            except ProbeError as exc:
                self._meters.count_probe_failure(KIND, exc.failure)
                self._tell_failure(id_, exc)
                pause_s = pauses.after_failure(exc, self.interval_s)
            else:
                self._unread.pop(id_, None)
                self._report(id_, load)
                pause_s = pauses.after_reading(self.interval_s)
            pause_s *= self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _tell_failure(self, id_: str, failure: ProbeError) -> None:
        """Says that an endpoint's load is not known, when that begins and not of each of many at the same time."""
        is_told = id_ in self._unread
        self._unread[id_] = failure
        if is_told:
            return
        now = self._clock()
        if now >= self._tell_next_at_s and (state := self._store.snapshot.endpoints.get(id_)) is not None:
            self._tell_next_at_s = now + TELL_EVERY_S
            _log.info(
                "the load of an endpoint is not known, its metrics cannot be read",
                endpoint=state.endpoint.name,
                problem=failure,
                endpoints_like_it=len(self._unread),
            )

    async def _read(self, id_: str) -> EngineLoad:
        """One reading. Errors: ProbeError, also for a page that says nothing of the load.

        Nothing that an endpoint answers can end the task that asks.
        """
        async with self._slots:
            endpoint = self._store.snapshot.endpoints[id_].endpoint
            asked_at_s = self._clock()
            try:
                page = await self._client.read_metrics(endpoint, timeout_s=self._settings.timeout_s)
                load = scan(page, engine=endpoint.engine, asked_at_s=asked_at_s)
            except ProbeError:
                raise
            except Exception as exc:
                _log.exception("a page could not be read, in an unforeseen way", endpoint=endpoint.name)
                raise ProbeError(Failure.INVALID, type(exc).__name__) from exc
        self._meters.observe_probe(KIND, self._clock() - asked_at_s)
        if load == EngineLoad(asked_at_s):
            raise ProbeError(Failure.INVALID, "a page that says nothing of the load")
        return load
