"""When endpoints are asked, against real servers: at once, with back-off, at intervals, in extra rounds."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from random import Random

import pytest
from tests.e2e.pods import PodServer, addresses
from tests.probes.silence import silent_host

from extproc.probes.client import Client
from extproc.probes.models import PROBES_AT_A_TURN, ModelProber, regular_interval_s, round_spacing_s
from extproc.registry.changes import PoolListed
from extproc.registry.store import Store
from extproc.settings.schema import ProbeSettings
from extproc.sim.engine import EngineSettings
from extproc.sim.server import SimServer
from extproc.values.endpoint import Endpoint
from extproc.values.model import ModelCard
from extproc.values.pool import Pool
from extproc.values.snapshot import Snapshot

NEVER = "1h"


class Site:
    """A store with a prober at work, and counts of what was probed."""

    def __init__(self, store: Store, prober: ModelProber) -> None:
        self.store = store
        self.prober = prober
        self.answered = 0
        self.failed = 0

    def observe_probe(self, kind: str, seconds: float) -> None:
        self.answered += 1

    def count_probe_failure(self, kind: str, reason: str) -> None:
        self.failed += 1

    async def until(self, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """Returns the first snapshot for which `condition` holds."""
        changed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda *_: changed.set())
        try:
            async with asyncio.timeout(10):
                while not condition(self.store.snapshot):
                    changed.clear()
                    await changed.wait()
        finally:
            unsubscribe()
        return self.store.snapshot

    def list_pool(self, *addresses: str) -> None:
        endpoints = tuple(Endpoint(address, address, address) for address in addresses)
        self.store.apply(PoolListed.of(endpoints), now=time.monotonic())


@asynccontextmanager
async def probing(*, client: Client | None = None, **models: object) -> AsyncIterator[Site]:
    settings = ProbeSettings.model_validate({"models": models})
    store = Store(Pool("test"))
    async with client or Client(settings) as client:
        site = Site(store, None)  # type: ignore[arg-type]  # each needs the other
        site.prober = ModelProber(
            store=store,
            client=client,
            settings=settings.models,
            meters=site,
            clock=time.monotonic,
            rng=Random(1),
        )
        task = asyncio.create_task(site.prober.run())
        try:
            yield site
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


def sim(*models: str, **settings: object) -> SimServer:
    return SimServer(EngineSettings(models=models, **settings))  # type: ignore[arg-type]


def serves(model: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: model in snapshot.models and len(snapshot.models[model].candidates) > 0


def serves_no_more(model: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: model in snapshot.models and not snapshot.models[model].candidates


@pytest.mark.parametrize(("endpoints", "spacing_s"), [(0, 0.2), (80, 0.2), (100, 0.25), (1_000, 2.5)])
def test_extra_rounds_ask_no_more_than_400_endpoints_a_second(endpoints: int, spacing_s: float) -> None:
    assert round_spacing_s(endpoints) == spacing_s


async def test_a_new_endpoint_is_probed_at_once() -> None:
    async with sim("phi") as server, probing(interval=NEVER) as site:
        site.list_pool(server.address)
        snapshot = await site.until(serves("phi"))
        assert snapshot.is_complete
        assert site.answered == 1


async def test_an_endpoint_that_starts_late_is_found_by_backing_off() -> None:
    """The simulator refuses connections for its first 400 ms: probes at about 0, 100, 300 and 700 ms."""
    server = sim("phi", startup_delay_s=0.4)
    start = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    async with probing(interval=NEVER) as site:
        while not server.address:
            await asyncio.sleep(0)
        site.list_pool(server.address)
        refused = await site.until(lambda snapshot: snapshot.is_complete)
        assert not refused.endpoints[server.address].is_ready
        await site.until(serves("phi"))
        assert 2 <= site.failed <= 5
    await start
    await server.stop()


async def test_a_slow_answer_evicts_nothing_and_the_list_stays() -> None:
    async with sim("phi") as server, probing(interval="50ms", timeout="100ms") as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        server.engine.failures.set("slow-models", delay_s=5)
        snapshot = await site.until(lambda snapshot: "timeout" in snapshot.endpoints[server.address].problem)
        assert serves("phi")(snapshot)
        assert not snapshot.endpoints[server.address].is_suspect


async def test_a_stopped_server_routes_nothing_stays_known_and_is_found_again() -> None:
    server = sim("phi")
    await server.start()
    port = int(server.address.rpartition(":")[2])
    async with probing(interval="50ms") as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        await server.stop()
        await site.until(serves_no_more("phi"))
        await server.start(port=port)
        await site.until(serves("phi"))
    await server.stop()


async def test_a_host_that_swallows_packets_becomes_suspect() -> None:
    with silent_host() as address:
        async with probing(interval="1h") as site:
            site.list_pool(address)
            snapshot = await site.until(lambda snapshot: snapshot.endpoints[address].is_suspect)
            assert not snapshot.endpoints[address].is_ready
            assert site.failed == 3


@contextmanager
def closed_port() -> Iterator[str]:
    """`ip:port` that nobody listens on, and nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize(
    ("away", "answered"),
    [pytest.param(silent_host, 3, id="no connection"), pytest.param(closed_port, 2, id="refused: the node is there")],
)
async def test_one_that_cannot_be_reached_has_the_others_of_its_node_probed_once_more(
    away: Callable[[], AbstractContextManager[str]], answered: int
) -> None:
    """The regular probes are an hour apart. Three connections fail, and only the first of them is news."""
    async with sim("phi") as beside, sim("gemma") as elsewhere, probing(interval=NEVER) as site:
        pool = [Endpoint("a", "a", beside.address, node="n"), Endpoint("b", "b", elsewhere.address, node="m")]
        site.store.apply(PoolListed.of(pool), now=time.monotonic())
        await site.until(lambda snapshot: serves("phi")(snapshot) and serves("gemma")(snapshot))
        with away() as address:
            site.store.apply(PoolListed.of([*pool, Endpoint("c", "c", address, node="n")]), now=time.monotonic())
            await site.until(lambda snapshot: snapshot.endpoints["c"].is_suspect)
        assert (site.answered, site.failed) == (answered, 3)


async def test_a_host_that_dies_under_a_kept_connection_becomes_suspect_without_waiting_for_a_probes_time_out() -> None:
    """A dead node acknowledges nothing on open connections either; only new ones tell it from a slow engine."""
    ips, port = addresses(1)
    async with PodServer("a", ips[0], port, "phi") as server, probing(interval="200ms", timeout="1s") as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        server.go_silent()
        suspect = asyncio.create_task(site.until(lambda snapshot: snapshot.endpoints[server.address].is_suspect))
        timed_out = asyncio.create_task(
            site.until(lambda snapshot: snapshot.endpoints[server.address].problem.startswith("timeout"))
        )
        first, later = await asyncio.wait((suspect, timed_out), return_when=asyncio.FIRST_COMPLETED)
        for task in later:
            task.cancel()
        assert first == {suspect}


async def test_an_endpoint_that_is_found_away_by_a_round_is_probed_at_once_and_from_the_shortest_back_off() -> None:
    """Its next regular probe would be in an hour."""
    server = sim("phi")
    port = await server.start()
    async with probing(interval=NEVER) as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        await server.stop()
        site.prober.request_round()
        await site.until(serves_no_more("phi"))
        await server.start(port=port)
        await site.until(serves("phi"))
    await server.stop()


async def test_an_extra_round_finds_what_no_regular_probe_would_in_time() -> None:
    async with sim("phi") as first, sim("gemma") as second, probing(interval=NEVER) as site:
        site.list_pool(first.address, second.address)
        await site.until(lambda snapshot: serves("phi")(snapshot) and serves("gemma")(snapshot))
        first.engine.load_adapter("sql", "/sql")
        asked_at_s = time.monotonic()
        for _ in range(100):
            site.prober.request_round()
        snapshot = await site.until(lambda snapshot: snapshot.probed_since_s >= asked_at_s)
        assert serves("sql")(snapshot)
        assert site.answered == 4


async def test_rounds_do_not_keep_a_slow_engine_from_being_known() -> None:
    """Its answers take longer than a round waits, and rounds are asked for all the time."""
    async with sim("phi") as server, probing(interval=NEVER, timeout="10s") as site:
        server.engine.failures.set("slow-models", delay_s=1.5)
        site.list_pool(server.address)
        known = asyncio.create_task(site.until(serves("phi")))
        while not known.done():
            site.prober.request_round()
            await asyncio.sleep(0.05)
        await known
        assert site.failed >= 1


async def test_a_round_asked_for_while_one_runs_begins_afterwards() -> None:
    async with sim("phi") as server, probing(interval=NEVER) as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        for _ in range(3):
            asked_at_s = time.monotonic()
            site.prober.request_round()
            await site.until(lambda snapshot: snapshot.probed_since_s >= asked_at_s)  # noqa: B023 - awaited at once


async def test_a_first_answer_that_is_overdue_is_no_longer_waited_for() -> None:
    async with sim("phi") as server, probing(interval=NEVER, timeout="5s", firstAnswerBudget="100ms") as site:
        server.engine.failures.set("slow-models", delay_s=5)
        site.list_pool(server.address)
        assert site.store.snapshot.has_answer_due
        snapshot = await site.until(lambda snapshot: not snapshot.has_answer_due)
        assert snapshot.is_complete
        assert not snapshot.has_answer


async def test_probes_of_an_endpoint_end_with_it() -> None:
    async with sim("phi") as server, probing(interval="20ms") as site:
        site.list_pool(server.address)
        await site.until(serves("phi"))
        site.list_pool()
        assert site.store.snapshot.models == {}
        assert repr(site.prober) == "<ModelProber of 0 endpoints>"


@pytest.mark.parametrize(("endpoints", "interval_s"), [(1, 5.0), (2000, 5.0), (4000, 10.0)])
def test_the_interval_grows_with_a_pool_that_would_need_too_many_probes(endpoints: int, interval_s: float) -> None:
    assert regular_interval_s(5.0, endpoints) == interval_s


async def test_other_settings_have_everybody_probed_at_once() -> None:
    async with sim("phi") as phi, sim("gemma") as gemma, probing(interval=NEVER) as site:
        site.list_pool(phi.address, gemma.address)
        await site.until(lambda snapshot: serves("phi")(snapshot) and serves("gemma")(snapshot))
        before = site.answered
        site.prober.configure(ProbeSettings.model_validate({"models": {"interval": NEVER}}).models)
        async with asyncio.timeout(10):
            while site.answered < before + 2:
                await asyncio.sleep(0.01)


async def test_another_interval_is_that_of_the_next_probes() -> None:
    async with sim("phi") as phi, probing(interval=NEVER) as site:
        site.list_pool(phi.address)
        await site.until(serves("phi"))
        site.prober.configure(ProbeSettings.model_validate({"models": {"interval": "10ms"}}).models)
        async with asyncio.timeout(10):
            while site.answered < 4:
                await asyncio.sleep(0.01)


class Turns(Client):
    """Counts the questions of each turn of the event loop, and answers none before `is_open` is set."""

    def __init__(self) -> None:
        super().__init__(ProbeSettings())
        self.asked = 0
        self.is_open = asyncio.Event()

    async def list_models(self, endpoint: Endpoint, *, timeout_s: float) -> tuple[ModelCard, ...]:
        self.asked += 1
        await self.is_open.wait()
        return (ModelCard("m"),)

    async def most_in_a_turn(self, questions: int) -> int:
        """Of the next `questions`."""
        most, before = 0, self.asked
        end = before + questions
        async with asyncio.timeout(10):
            while before < end:
                await asyncio.sleep(0)
                most, before = max(most, self.asked - before), self.asked
        return most


@pytest.mark.parametrize(
    "ask_all",
    [
        pytest.param(lambda prober: prober.request_round(), id="an extra round"),
        pytest.param(lambda prober: prober.configure(ProbeSettings().models), id="other settings"),
    ],
)
async def test_other_work_goes_on_while_every_endpoint_is_asked(ask_all: Callable[[ModelProber], None]) -> None:
    client, count = Turns(), 8 * PROBES_AT_A_TURN
    client.is_open.set()
    async with probing(client=client, interval=NEVER) as site:
        site.list_pool(*(f"127.0.0.1:{port}" for port in range(1, count + 1)))
        await site.until(lambda snapshot: len(snapshot.routable) == count)
        client.is_open.clear()
        ask_all(site.prober)
        assert await client.most_in_a_turn(count) <= 2 * PROBES_AT_A_TURN
