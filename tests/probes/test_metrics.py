"""When metrics pages are read, against real servers: at intervals, with back-off, for the life of an endpoint."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import web

from extproc.probes.client import Client, ProbeError
from extproc.probes.metrics import READINGS_PER_S, TELL_EVERY_S, LoadProber, Pauses, reading_interval_s
from extproc.probes.restraint import LONGEST_REST_S, Restraint
from extproc.probes.ticks import BEGUN_AT_A_TICK
from extproc.registry.changes import Failure, Listing, PoolChanged, PoolListed
from extproc.registry.store import Store
from extproc.settings.schema import MetricsProbeSettings, ProbeSettings
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import configure_logs
from extproc.values.endpoint import Endpoint
from extproc.values.load import EngineLoad
from extproc.values.pool import Pool

NEVER = "1h"


class Engine:
    """A server of one page. While `is_open` is not set, answers wait for it."""

    def __init__(self, page: str = "vllm:num_requests_waiting 1\n", *, status: int = 200) -> None:
        self.page = page
        self.status = status
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.asked = asyncio.Semaphore(0)
        """Released at each reading."""
        self.address = ""

    async def __aenter__(self) -> "Engine":
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "{}:{}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked.release()
        page, status = self.page, self.status  # of this moment, however late it is sent
        await self.is_open.wait()
        return web.Response(text=page, status=status)


class AtTheBegin(Random):
    """The first interval is a tenth of one, and there is no jitter."""

    def random(self) -> float:
        return 0.1

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


class HandClock:
    """Goes by hand."""

    def __init__(self) -> None:
        self.now_s = 1e6

    def __call__(self) -> float:
        return self.now_s


def ports(count: int) -> list[str]:
    """So many addresses, where nobody is asked."""
    return [f"127.0.0.1:{port}" for port in range(1, count + 1)]


class Site:
    """A store with a prober at work, and what came of it."""

    def __init__(self) -> None:
        self.store = Store(Pool("test"))
        self.prober: LoadProber
        self.loads: list[tuple[str, EngineLoad]] = []
        self.failures: list[str] = []
        self.answered = 0
        self._happened = asyncio.Event()

    def report(self, id_: str, load: EngineLoad) -> None:
        self.loads.append((id_, load))
        self._happened.set()

    def observe_probe(self, kind: str, seconds: float) -> None:
        assert kind == "metrics"
        self.answered += 1
        self._happened.set()

    def count_probe_failure(self, kind: str, reason: str) -> None:
        assert kind == "metrics"
        self.failures.append(reason)
        self._happened.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once `condition` holds."""
        async with asyncio.timeout(10):
            while not condition():
                self._happened.clear()
                await self._happened.wait()

    async def until_waiting(self, count: float) -> None:
        """Returns once a reading says that so many wait."""
        await self.until(lambda: any(load.waiting == count for _, load in self.loads))

    async def until_failed(self, count: int) -> None:
        """Returns once so many readings failed."""
        await self.until(lambda: len(self.failures) == count)

    def list_pool(self, *addresses: str) -> None:
        self.store.apply(PoolListed.of(Endpoint(each, each, each) for each in addresses), now=time.monotonic())

    def say(self, address: str, *, life: str = "1", ready: bool = True, engine: str = "") -> None:
        """What Kubernetes says of the one pod."""
        listing = Listing(Endpoint("pod", "pod", address, engine=engine), ready, life)
        self.store.apply(PoolChanged((listing,), ()), now=time.monotonic())


@asynccontextmanager
async def reading(
    *,
    client: Client | None = None,
    rng: Random | None = None,
    clock: Callable[[], float] = time.monotonic,
    **metrics: object,
) -> AsyncIterator[Site]:
    settings = ProbeSettings.model_validate({"metrics": {"interval": "10ms"} | metrics})
    site = Site()
    async with client or Client(settings) as own:
        site.prober = LoadProber(
            store=site.store,
            client=own,
            settings=settings.metrics,
            report=site.report,
            meters=site,
            clock=clock,
            rng=rng or Random(1),
        )
        task = asyncio.create_task(site.prober.run())
        try:
            await asyncio.sleep(0)
            yield site
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def test_readings_are_reported_again_and_again() -> None:
    begun_s = time.monotonic()
    async with Engine() as engine, reading() as site:
        site.list_pool(engine.address)
        await site.until(lambda: len(site.loads) >= 3)
        engine.page = "vllm:num_requests_waiting 2\n"
        await site.until_waiting(2)
    ids, loads = zip(*site.loads, strict=True)
    assert set(ids) == {engine.address}
    asked_at_s = [load.asked_at_s for load in loads]
    assert asked_at_s == sorted(set(asked_at_s))
    assert begun_s <= asked_at_s[0]
    assert site.answered == len(loads)
    assert site.failures == []


async def test_what_is_known_before_it_begins_is_read_too() -> None:
    async with Engine() as engine:
        site = Site()
        site.list_pool(engine.address)
        async with Client(ProbeSettings()) as client:
            prober = LoadProber(
                store=site.store,
                client=client,
                settings=ProbeSettings().metrics,
                report=site.report,
                meters=site,
                clock=time.monotonic,
                rng=Random(1),
            )
            task = asyncio.create_task(prober.run())
            await site.until_waiting(1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("endpoints", [1, BEGUN_AT_A_TICK, BEGUN_AT_A_TICK + 1, 3 * BEGUN_AT_A_TICK])
async def test_the_first_reading_is_at_once_however_many_begin(endpoints: int) -> None:
    """And the second at any moment of the interval, of an hour here."""
    async with reading(client=Broken(ProbeSettings()), interval=NEVER) as site:
        site.list_pool(*ports(endpoints))
        await site.until(lambda: len(site.failures) == endpoints)


async def test_first_readings_keep_to_the_pace_of_all_however_many_changes_they_come_in() -> None:
    """The readings of another show that time goes by."""
    clock = HandClock()
    async with (
        Engine() as other,
        reading(client=Broken(ProbeSettings()), clock=clock, interval=NEVER) as site,
        reading() as beside,
    ):
        for pods in (4, 8, 12):
            site.list_pool(*ports(pods))
            await site.until_failed(pods)
            site.list_pool(*ports(pods + 4))
            beside.loads.clear()
            beside.list_pool(other.address)
            await beside.until(lambda: len(beside.loads) >= 3)
            assert len(site.failures) == pods
            clock.now_s += 4 / READINGS_PER_S + 1e-6


async def test_first_readings_come_before_all_that_are_overdue() -> None:
    clock, client = HandClock(), Broken(ProbeSettings())
    async with reading(client=client, clock=clock) as site:
        site.prober._restraint = Fixed(LONGEST_REST_S)
        site.list_pool(*ports(24))
        for read in (8, 16, 24):
            await site.until_failed(read)
            clock.now_s += 1.0 if read < 24 else 1000.0
        site.list_pool(*ports(25))
        await site.until(lambda: len(site.failures) == 32)
        assert client.asked[24] == "127.0.0.1:25"


async def test_those_that_begin_together_are_not_read_together_ever_after() -> None:
    clock = HandClock()
    async with Engine() as engine, reading(rng=AtTheBegin(), clock=clock, interval=NEVER) as site:
        site.list_pool(engine.address)
        await site.until(lambda: len(site.loads) == 1)
        clock.now_s += 361.0  # a second more than the tenth of an hour
        site.list_pool(engine.address, "127.0.0.1:1")  # so that it looks at the clock
        await site.until(lambda: len(site.loads) == 2)


async def test_one_that_fails_is_read_less_often_than_one_that_answers() -> None:
    async with Engine(status=500) as bad, Engine() as good, reading() as site:
        site.list_pool(bad.address, good.address)
        await site.until(lambda: len(site.failures) >= 6)
        assert len(site.loads) > 3 * len(site.failures)


async def test_the_engine_that_its_label_tells_is_looked_for_also_once_the_label_changes() -> None:
    page = "vllm:num_requests_waiting 1\nsglang:num_queue_reqs 2\n"
    async with Engine(page) as engine, reading() as site:
        site.say(engine.address, engine="vllm")
        await site.until_waiting(1)
        site.say(engine.address, engine="sglang")
        await site.until_waiting(2)


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        pytest.param(lambda: Engine(status=500), "status", id="500"),
        pytest.param(lambda: Engine(status=404), "status", id="no page"),
        pytest.param(lambda: Engine(status=401), "unauthorized", id="401"),
        pytest.param(lambda: Engine("process_open_fds 7\n"), "invalid", id="says nothing of load"),
    ],
)
async def test_a_failed_reading_is_counted_changes_nothing_and_is_tried_again(
    engine: Callable[[], Engine], reason: str
) -> None:
    async with engine() as server, reading() as site:
        site.list_pool(server.address)
        before = site.store.snapshot
        await site.until(lambda: len(site.failures) >= 2)
        assert set(site.failures) == {reason}
        assert site.loads == []
        assert site.store.snapshot is before
        server.status, server.page = 200, "vllm:num_requests_waiting 5\n"
        await site.until_waiting(5)


async def test_that_pages_cannot_be_read_is_told_once_for_many(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    async with Engine(status=404) as one, Engine(status=404) as other, reading() as site:
        site.list_pool(one.address, other.address)
        await site.until(lambda: len(site.failures) >= 6)
    lines = [line for line in capsys.readouterr().err.splitlines() if "cannot be read" in line]
    assert len(lines) == 1
    assert "status 404" in lines[0]


async def test_an_engine_that_is_silent_is_a_time_out() -> None:
    async with Engine() as engine, reading(timeout="20ms") as site:
        engine.is_open.clear()
        site.list_pool(engine.address)
        await site.until(lambda: len(site.failures) >= 1)
        assert site.failures[0] == "timeout"
        engine.is_open.set()
        await site.until_waiting(1)


async def test_one_that_fails_does_not_keep_others_from_being_read() -> None:
    async with Engine(status=500) as bad, Engine() as good, reading() as site:
        site.list_pool(bad.address, good.address)
        await site.until(lambda: len(site.failures) >= 1 and len(site.loads) >= 2)
        assert {id_ for id_, _ in site.loads} == {good.address}


class Broken(Client):
    """Has a defect."""

    def __init__(self, settings: ProbeSettings) -> None:
        super().__init__(settings)
        self.asked: list[str] = []
        """The addresses, in order."""

    async def read_metrics(self, endpoint: Endpoint, *, timeout_s: float) -> bytes:
        self.asked.append(endpoint.address)
        raise ZeroDivisionError


async def test_a_defect_in_one_reading_does_not_end_them(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    async with reading(client=Broken(ProbeSettings())) as site:
        site.list_pool("127.0.0.1:1")
        await site.until(lambda: len(site.failures) >= 2)
        assert set(site.failures) == {"invalid"}
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "begin_anew",
    [
        pytest.param(lambda site, address: site.say(address, life="2"), id="a restart"),
        pytest.param(
            lambda site, address: (site.say(address, ready=False), site.say(address)), id="not ready, then ready"
        ),
    ],
)
async def test_a_late_answer_of_a_former_life_is_not_reported(begin_anew: Callable[[Site, str], object]) -> None:
    async with Engine("vllm:num_requests_waiting 7\n") as engine, reading(interval=NEVER) as site:
        engine.is_open.clear()
        site.say(engine.address)
        async with asyncio.timeout(10):
            await engine.asked.acquire()
            engine.page = "vllm:num_requests_waiting 8\n"
            begin_anew(site, engine.address)
            await engine.asked.acquire()
        engine.is_open.set()
        await site.until_waiting(8)
        assert [load.waiting for _, load in site.loads] == [8]


async def test_an_endpoint_that_only_becomes_not_ready_goes_on_being_read() -> None:
    async with Engine() as engine, reading() as site:
        site.say(engine.address)
        await site.until_waiting(1)
        site.say(engine.address, ready=False)
        engine.page = "vllm:num_requests_waiting 2\n"
        await site.until_waiting(2)


async def test_the_readings_of_an_endpoint_end_with_it() -> None:
    async with Engine() as engine, Engine() as beside, reading() as site:
        site.list_pool(engine.address, beside.address)
        await site.until(lambda: len({id_ for id_, _ in site.loads}) == 2)
        site.list_pool(beside.address)
        assert repr(site.prober) == "<LoadProber of 1 endpoints>"
        site.loads.clear()
        await site.until(lambda: len(site.loads) >= 3)
        assert {id_ for id_, _ in site.loads} == {beside.address}


async def test_an_interval_of_0_reads_none() -> None:
    async with Engine() as engine, reading(interval="0s") as site:
        site.list_pool(engine.address)
        await asyncio.sleep(0)
        assert repr(site.prober) == "<LoadProber of 0 endpoints>"


async def test_the_interval_that_is_in_use_is_told_when_the_size_of_the_pool_changes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    async with reading(interval="1s", staleness="3s") as site:
        for size in (10, 500, 525, 1_000, 1_500, 500):
            site.list_pool(*(f"127.0.0.1:{port}" for port in range(1, size + 1)))
        assert site.prober.interval_s == 1.0
        assert site.prober.staleness_s == 3.0
        site.list_pool(*(f"127.0.0.1:{port}" for port in range(1, 1_501)))
        assert site.prober.interval_s == 3.0
        assert site.prober.staleness_s == 6.0
    told = [line.partition("size of the pool ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [line for line in told if line] == [
        "interval=2s wanted=1s endpoints=1000",
        "interval=3s wanted=1s endpoints=1500",
        "interval=1s wanted=1s endpoints=500",
        "interval=3s wanted=1s endpoints=1500",
    ]


@pytest.mark.parametrize(
    ("wanted_s", "endpoints", "interval_s"),
    [
        pytest.param(0.5, 0, 0.5, id="no endpoint"),
        pytest.param(0.5, 250, 0.5, id="as wanted"),
        pytest.param(0.5, 1_000, 2.0, id="grown"),
        pytest.param(0.05, 10, 0.05, id="a short one, as wanted"),
        pytest.param(0.05, 100, 0.2, id="a short one, grown"),
        pytest.param(60.0, 1_000, 60.0, id="a long one"),
    ],
)
def test_the_interval_grows_with_the_pool(wanted_s: float, endpoints: int, interval_s: float) -> None:
    assert reading_interval_s(wanted_s, endpoints) == interval_s


GOOD, BAD, ABSENT = None, ProbeError(Failure.STATUS, "", status=500), ProbeError(Failure.STATUS, "", status=404)


@pytest.mark.parametrize(
    ("interval_s", "outcomes", "pause_s"),
    [
        pytest.param(0.5, [GOOD], 0.5, id="a reading"),
        pytest.param(0.5, [BAD], 1.0, id="the first failure"),
        pytest.param(0.5, [BAD, BAD], 2.0, id="the second"),
        pytest.param(0.5, [BAD, BAD, GOOD], 0.5, id="a reading after two failures"),
        pytest.param(0.5, [BAD, BAD, GOOD, BAD], 1.0, id="the first failure after a reading"),
        pytest.param(0.5, [BAD] * 9, 5.0, id="the longest"),
        pytest.param(0.5, [ABSENT] * 9, 30.0, id="the longest without a page"),
        pytest.param(0.5, [ABSENT] * 9 + [BAD], 5.0, id="a page that fails now"),
        pytest.param(0.5, [BAD] * 10_000, 5.0, id="for hours"),
        pytest.param(60.0, [BAD], 60.0, id="never shorter than the interval"),
    ],
)
def test_the_pauses_of_one_that_fails_double(
    interval_s: float, outcomes: list[ProbeError | None], pause_s: float
) -> None:
    pauses = Pauses()
    for outcome in outcomes:
        last_s = pauses.after_failure(outcome, interval_s) if outcome else pauses.after_reading(interval_s)
    assert last_s == pause_s


def metrics_settings(**values: object) -> MetricsProbeSettings:
    return ProbeSettings.model_validate({"metrics": values}).metrics


async def test_other_settings_are_those_of_the_next_reading() -> None:
    """From never to often, for endpoints that are known already, and to never again."""
    async with Engine() as engine, reading(interval="0s") as site:
        site.list_pool(engine.address)
        assert repr(site.prober) == "<LoadProber of 0 endpoints>"
        site.prober.configure(metrics_settings(interval="10ms", staleness="7s"))
        assert (site.prober.interval_s, site.prober.staleness_s) == (0.01, 7.0)
        await site.until(lambda: len(site.loads) >= 3)
        site.prober.configure(metrics_settings(interval="0s"))
        assert repr(site.prober) == "<LoadProber of 0 endpoints>"
        site.list_pool(engine.address, "127.0.0.1:1")
        assert repr(site.prober) == "<LoadProber of 0 endpoints>"


async def test_what_could_not_be_read_before_is_no_problem_any_more() -> None:
    async with Engine() as engine, reading() as site:
        engine.page = ""
        site.list_pool(engine.address)
        await site.until(lambda: bool(site.failures))
        assert site.prober.problem_of(engine.address)
        site.prober.configure(metrics_settings(interval="1h"))
        assert site.prober.problem_of(engine.address) == ""


def test_settings_may_change_before_it_runs() -> None:
    store = Store(Pool("test"))
    prober = LoadProber(
        store=store,
        client=None,  # type: ignore[arg-type]  # nobody is asked
        settings=metrics_settings(),
        report=lambda *_: None,
        meters=Site(),
        clock=time.monotonic,
        rng=Random(1),
    )
    prober.configure(metrics_settings(interval="3s"))
    assert prober.interval_s == 3.0


class LateClock:
    """By it whoever looks twice finds that more time went by than should have."""

    def __init__(self, by_s: float) -> None:
        self.by_s = by_s
        self._late_s = 0.0

    def __call__(self) -> float:
        self._late_s += self.by_s
        return time.monotonic() + self._late_s


@pytest.mark.parametrize(
    ("late_by_s", "endpoints", "interval_s"),
    [
        pytest.param(0.06, 100, 0.6, id="a late loop"),
        pytest.param(0.06, 5, 0.1, id="a late loop, and few endpoints"),
        pytest.param(0.0, 100, 0.2, id="a loop that is on time"),
    ],
)
async def test_pages_are_held_back_while_the_loop_is_late(
    late_by_s: float, endpoints: int, interval_s: float, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(TelemetrySettings(verbosity=2))
    async with reading(clock=LateClock(late_by_s), interval="50ms") as site:
        site.list_pool(*(f"127.0.0.1:{port}" for port in range(1, endpoints + 1)))
        await site.until(lambda: len(site.failures) >= 12 and site.prober.interval_s == pytest.approx(interval_s))
    told = [line for line in capsys.readouterr().err.splitlines() if "the event loop is late" in line]
    assert len(told) == (interval_s > 0.5)


class Fixed(Restraint):
    """Learns nothing."""

    def __init__(self, rest_s: float) -> None:
        self.rest_s = rest_s
        self.late_s: list[float] = []
        """How late each tick came."""

    def note_tick(self, late_s: float) -> None:
        self.late_s.append(late_s)


@pytest.mark.parametrize(
    ("endpoints", "interval_s", "staleness_s"),
    [
        pytest.param(0, 0.5, 2.0, id="none"),
        pytest.param(25, 0.5, 2.0, id="few"),
        pytest.param(50, 1.0, 2.0, id="some"),
        pytest.param(1_000, 6.0, 4.0, id="many"),
        pytest.param(5_000, 30.0, 20.0, id="very many"),
    ],
)
async def test_however_late_the_loop_is_readings_do_not_get_old_and_are_not_believed_for_longer(
    endpoints: int, interval_s: float, staleness_s: float
) -> None:
    """Without it, a pool of 250 or more would have a third of the interval, and each the same staleness."""
    async with reading(client=Broken(ProbeSettings()), interval="500ms", staleness="2s") as site:
        site.prober._restraint = Fixed(LONGEST_REST_S)
        site.list_pool(*ports(endpoints))
        assert site.prober.interval_s == pytest.approx(interval_s)
        assert site.prober.staleness_s == pytest.approx(staleness_s)


async def test_a_tick_is_late_by_the_moment_that_was_overdue_first() -> None:
    """Not by that of one that begins while the loop has not yet seen that another is overdue."""
    clock, restraint = HandClock(), Fixed(0.0)
    async with Engine() as engine, reading(rng=AtTheBegin(), clock=clock, interval=NEVER) as site:
        site.prober._restraint = restraint
        site.list_pool(engine.address)
        await site.until(lambda: len(site.loads) == 1)
        while site.prober._is_put.is_set():  # until it has seen when the next one is due
            await asyncio.sleep(0)
        clock.now_s += 400.0  # 40 s more than the tenth of an hour
        site.list_pool(engine.address, "127.0.0.1:1")
        await site.until(lambda: len(site.loads) == 2)
        assert max(restraint.late_s) == pytest.approx(40.0, abs=0.1)


async def test_that_pages_are_held_back_is_told_rarely(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it begins and ends. What holds at last is told."""
    configure_logs(TelemetrySettings(verbosity=2))
    clock, restraint = HandClock(), Fixed(0.0)
    async with reading(client=Broken(ProbeSettings()), clock=clock) as site:
        site.prober._restraint = restraint
        for pod, (rest_s, pause_s) in enumerate([(1.0, 1.0), (0.0, 1.0), (1.0, 1.0), (0.0, TELL_EVERY_S), (0.0, 1.0)]):
            restraint.rest_s = rest_s
            site.list_pool(f"127.0.0.1:{pod + 1}")
            await site.until_failed(pod + 1)
            clock.now_s += pause_s
    told = [line for line in capsys.readouterr().err.splitlines() if "metrics are read" in line]
    assert ["less often" in line for line in told] == [True, False]


@pytest.mark.parametrize(
    ("rest_s", "asked"),
    [
        pytest.param(0.0, 3 * BEGUN_AT_A_TICK, id="as they come"),
        pytest.param(3600.0, BEGUN_AT_A_TICK, id="held back"),
    ],
)
async def test_those_that_are_due_together_begin_some_at_a_time_with_a_rest_between(rest_s: float, asked: int) -> None:
    """Another's readings show that time goes by."""
    async with (
        Engine() as other,
        reading(client=Broken(ProbeSettings()), interval=NEVER) as site,
        reading() as beside,
    ):
        site.prober._restraint = Fixed(rest_s)
        site.list_pool(*(f"127.0.0.1:{port}" for port in range(1, 3 * BEGUN_AT_A_TICK + 1)))
        await site.until(lambda: len(site.failures) == asked)
        beside.list_pool(other.address)
        await beside.until(lambda: len(beside.loads) >= 5)
        assert len(site.failures) == asked
