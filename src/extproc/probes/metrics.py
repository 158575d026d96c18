"""When each endpoint's metrics page is read: first of all at once, then at intervals, which grow with the pool and
while the event loop is late, and less often where it fails.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import islice
from random import Random

from extproc.probes.client import Client, ProbeError
from extproc.probes.models import ProbeMeters, begins_anew
from extproc.probes.restraint import Restraint
from extproc.probes.rota import Rota
from extproc.probes.scan import scan
from extproc.probes.ticks import BEGUN_AT_A_TICK, JITTER, tick_s, until_tick_s
from extproc.registry.changes import Failure
from extproc.registry.store import Store
from extproc.settings.schema import MetricsProbeSettings
from extproc.telemetry.logs import Log
from extproc.values.duration import format_duration
from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot

READINGS_PER_S = 500
"""The interval grows with a pool that would need more: a reading of 60 KB takes 0.5 ms of a core, and with twice as
many a pool of 5,000 pods that change left no time for picks. Source: docs/performance.md, P6 and p-pods."""
MOST_HELD_BACK = 3.0
"""While the event loop is late, the interval grows by this factor at most: what was sent to an endpoint is forgotten
after 10 s, and an older reading does not show it."""
LONGEST_BACKOFF_S = 5.0
LONGEST_BACKOFF_WITHOUT_PAGE_S = 30.0
"""Of an engine that answers 404."""
READINGS_AT_ONCE = 256
NOTABLE_CHANGE = 1.1
"""Factor by which the interval must have changed with the pool to be told again."""
NOTABLE_RESTRAINT = 2.0
"""Factor by which it must have grown with the loop's lateness to be told."""
FRESH_INTERVALS = 2
"""A reading that is not older than so many intervals is as new as can be had."""
TELL_EVERY_S = 10.0
"""That the load of endpoints is not known is logged at most so often, and that pages are held back or no longer are."""
KIND = "metrics"

_log = Log("probes.metrics")


def reading_interval_s(interval_s: float, endpoints: int) -> float:
    """Seconds between two readings of an endpoint, in a pool of this many."""
    return max(interval_s, endpoints / READINGS_PER_S)


class Pauses:
    """How long one endpoint is left alone between readings."""

    def __init__(self) -> None:
        self.was_read = False
        """True from the first good reading on."""
        self._failures = 0

    def after_reading(self, interval_s: float) -> float:
        """Seconds to the next reading after a good one."""
        self.was_read = True
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
        self._pauses: dict[str, Pauses] = {}
        """By endpoint id, for each life of an endpoint its own."""
        self._reading: dict[str, asyncio.Task[None]] = {}
        """The readings that are going on, by endpoint id."""
        self._first: dict[str, None] = {}
        """The ids of those whose first reading has not begun, in order. They come before all that are overdue: others
        are preferred to one whose load is not known."""
        self._rota = Rota()
        """When each of the others is read."""
        self._is_put = asyncio.Event()
        """Set when one was put that may be due before all others."""
        self._restraint = Restraint()
        self._is_told_of_restraint = False
        self._tell_restraint_next_at_s = float("-inf")
        self._resting_until_s = float("-inf")
        self._unread: dict[str, ProbeError] = {}
        """How the last reading of an endpoint failed, by its id, of those where it did."""
        self._tell_next_at_s = float("-inf")
        self._slots = asyncio.Semaphore(READINGS_AT_ONCE)
        self._told_interval_s = settings.interval_s
        self._is_running = False

    def __repr__(self) -> str:
        return f"<LoadProber of {len(self._pauses)} endpoints>"

    @property
    def interval_s(self) -> float:
        """Seconds between two readings of an endpoint, in a pool of the present size and held back as they are now."""
        return max(self._sized_interval_s, len(self._pauses) * self._rest_s)

    @property
    def _sized_interval_s(self) -> float:
        return reading_interval_s(self._settings.interval_s, len(self._pauses))

    @property
    def _rest_s(self) -> float:
        """Seconds to leave the loop alone for each reading that began."""
        return min(self._restraint.rest_s, MOST_HELD_BACK * self._sized_interval_s / max(len(self._pauses), 1))

    @property
    def staleness_s(self) -> float:
        """Age in seconds from which a reading counts less and less, in a pool of the present size.

        It does not grow while pages are held back: readings are older then, and an old one must not be believed.
        """
        return max(self._settings.staleness_s, FRESH_INTERVALS * self._sized_interval_s)

    def problem_of(self, endpoint_id: str) -> str:
        """How the last reading of an endpoint failed, empty where it did not."""
        failure = self._unread.get(endpoint_id)
        return "" if failure is None else str(failure)

    def configure(self, settings: MetricsProbeSettings) -> None:
        """Reads as `settings` say from now on. What was read before is kept by whoever was told of it."""
        self._settings = settings
        self._told_interval_s = settings.interval_s
        if self._is_running:
            self._begin()

    async def run(self) -> None:
        """Reads for ever; nothing while the interval is 0."""
        unsubscribe = self._store.subscribe(self._follow)
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as tasks:
                self._begin()
                while True:
                    self._hold_back(await self._sleep())
                    for id_ in self._take():
                        self._reading[id_] = tasks.create_task(self._read_and_report(id_), name=f"load of {id_}")
        finally:
            self._is_running = False
            unsubscribe()

    async def _sleep(self) -> float:
        """Until somebody is due. Returns how late it woke up, by the moment that was overdue first."""
        wake_at_s = float("inf")
        while (now := self._clock()) < wake_at_s:
            self._is_put.clear()
            due_at_s = now if self._first else self._rota.next_at_s
            wake_at_s = max(now, due_at_s, self._resting_until_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(wake_at_s - now):
                    await self._is_put.wait()
        return now - wake_at_s

    def _take(self) -> list[str]:
        """Those to be read now, and after which rest the next ones are: after first readings one that keeps them to the
        pace of all, however many begin and in however many changes.
        """
        now, rest_s = self._clock(), self._rest_s
        first = list(islice(self._first, BEGUN_AT_A_TICK))
        for id_ in first:
            del self._first[id_]
        others = self._rota.take(now, most=BEGUN_AT_A_TICK - len(first))
        self._resting_until_s = now + len(first) * max(rest_s, 1 / READINGS_PER_S) + len(others) * rest_s
        return first + others

    def _hold_back(self, late_s: float) -> None:
        """Leaves the loop alone for longer when it is late, and says so once it makes much of a difference."""
        self._restraint.note_tick(late_s)
        interval_s, usual_s, is_told = self.interval_s, self._sized_interval_s, self._is_told_of_restraint
        is_news = interval_s == usual_s if is_told else interval_s > NOTABLE_RESTRAINT * usual_s
        if is_news and (now := self._clock()) >= self._tell_restraint_next_at_s:
            self._tell_restraint_next_at_s = now + TELL_EVERY_S
            self._is_told_of_restraint = not is_told
            how_often = "as often as before" if is_told else "less often, the event loop is late"
            _log.info(f"metrics are read {how_often}", interval=_show(interval_s))

    def _begin(self) -> None:
        """Begins with every endpoint anew."""
        for id_ in list(self._pauses):
            self._forget(id_)
        snapshot = self._store.snapshot
        self._follow(Snapshot(snapshot.pool), snapshot, snapshot.endpoints.keys())
        if self._settings.interval_s == 0:
            _log.info("no metrics of endpoints are read", interval="0s")

    def _follow(self, before: Snapshot, after: Snapshot, ids: Collection[str]) -> None:
        """Has those that begin read as soon as may be."""
        for id_ in ids:
            old, state = before.endpoints.get(id_), after.endpoints.get(id_)
            if state is None or old is None or begins_anew(old, state):
                self._forget(id_)
                if state is not None and self._settings.interval_s:
                    self._pauses[id_] = Pauses()
                    self._first[id_] = None
                    self._is_put.set()
        self._tell_interval()

    def _forget(self, id_: str) -> None:
        if self._pauses.pop(id_, None) is not None:
            self._first.pop(id_, None)
            self._rota.drop(id_)
            self._unread.pop(id_, None)
            if (task := self._reading.pop(id_, None)) is not None:
                task.cancel()

    def _put(self, id_: str, pause_s: float) -> None:
        """Has it read at the tick that is nearest to the end of a pause."""
        now = self._clock()
        at_s = now + until_tick_s(pause_s, now=now, tick=tick_s(self._sized_interval_s, len(self._pauses)))
        if at_s < self._rota.next_at_s:
            self._is_put.set()
        self._rota.put(id_, at_s)

    def _tell_interval(self) -> None:
        interval_s = self._sized_interval_s
        shorter_s, longer_s = sorted((interval_s, self._told_interval_s))
        if longer_s > NOTABLE_CHANGE * shorter_s:
            self._told_interval_s = interval_s
            _log.info(
                "metrics are read at another interval, for the size of the pool",
                interval=_show(interval_s),
                wanted=format_duration(self._settings.interval_s),
                endpoints=len(self._pauses),
            )

    async def _read_and_report(self, id_: str) -> None:
        """One reading, what came of it reported, and the next one put on the rota."""
        pauses = self._pauses[id_]
        outcome = await self._read(id_)
        if self._pauses.get(id_) is not pauses:
            return  # a time-out at the same moment can hide that it was cancelled: this is of its former life
        if isinstance(outcome, ProbeError):
            self._meters.count_probe_failure(KIND, outcome.failure)
            self._tell_failure(id_, outcome)
            pause_s = pauses.after_failure(outcome, self._sized_interval_s)
        else:
            self._unread.pop(id_, None)
            self._report(id_, outcome)
            # Those that begin together would be read together ever after: the first interval is any part of one.
            part = 1.0 if pauses.was_read else self._rng.random()
            pause_s = part * pauses.after_reading(self._sized_interval_s)
        del self._reading[id_]
        self._put(id_, pause_s * self._rng.uniform(1 - JITTER, 1 + JITTER))

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

    async def _read(self, id_: str) -> EngineLoad | ProbeError:
        """One reading, or how it failed, also for a page that says nothing of the load.

        Nothing that an endpoint answers can end the task that asks.
        """
        async with self._slots:
            endpoint = self._store.snapshot.endpoints[id_].endpoint
            asked_at_s = self._clock()
            try:
                page = await self._client.read_metrics(endpoint, timeout_s=self._settings.timeout_s)
                load = scan(page, engine=endpoint.engine, asked_at_s=asked_at_s)
            except ProbeError as exc:
                return exc
            except Exception as exc:  # noqa: BLE001 - a defect in reading one page must not stop the others' readings
                _log.exception("a page could not be read, in an unforeseen way", endpoint=endpoint.name)
                return ProbeError(Failure.INVALID, type(exc).__name__)
        self._meters.observe_probe(KIND, self._clock() - asked_at_s)
        if load == EngineLoad(asked_at_s):
            return ProbeError(Failure.INVALID, "a page that says nothing of the load")
        return load


def _show(interval_s: float) -> str:
    return format_duration(round(interval_s, 3))
