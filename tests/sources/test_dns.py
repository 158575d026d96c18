"""The DNS source against a real server: what is an endpoint, what a failure takes away, and how often it asks."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dns.asyncresolver import Resolver
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from tests.dns_server import DnsServer, Garbage, Silent, Trouble

from extproc.registry.changes import PoolListed
from extproc.sources.dns import DnsName, Pace
from extproc.values.endpoint import Endpoint, canonical_address
from extproc.values.pool import Pool

NEVER_S = 3600.0
BY_DOUBT = Pace(least_s=NEVER_S, longest_s=NEVER_S, first_backoff_s=NEVER_S, longest_backoff_s=NEVER_S, doubt_s=0.0)
"""Asks once, and then once for each doubt: a test decides which answer is the second."""
SHORT_S = 0.3
"""For one question, where it is not to be answered."""
HASTY = Pace(least_s=0.01, longest_s=0.01, first_backoff_s=0.01, longest_backoff_s=0.05, doubt_s=0.01)

NAME = "pool.ns.svc.cluster.local."
MANY_V4 = [f"10.1.{number >> 8}.{number & 255}" for number in range(1000)]
MANY_V6 = [f"2001:db8::{number:x}" for number in range(1, 1001)]


def table(columns: tuple[str, ...], rows: Mapping[str, tuple[Any, ...]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(columns, list(rows.values()), ids=list(rows))


class Watch:
    """A running source, and what it said."""

    def __init__(self, source: DnsName) -> None:
        self.source = source
        self.pools: list[list[str]] = []
        """The addresses of each report."""
        self.endpoints: list[Endpoint] = []
        self.problems: tuple[str, ...] = ()
        self._said: asyncio.Queue[bool] = asyncio.Queue()

    def report(self, change: PoolListed) -> None:
        assert all(listing.is_ready is None for listing in change.listings)  # the probes say so
        self.endpoints = [listing.endpoint for listing in change.listings]
        self.pools.append([endpoint.address for endpoint in self.endpoints])

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        assert source == "dns"
        self.problems = tuple(problems)
        self._said.put_nowait(is_connected)

    async def next_answer(self) -> bool:
        """Waits for the end of a question. True when it was answered as it should."""
        return await self._said.get()

    async def ask(self) -> bool:
        """Has the name asked for once (`BY_DOUBT`). True when it was answered as it should."""
        self.source.doubt("any")
        return await self.next_answer()

    async def wait_connected(self, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """Waits for a question that is answered, or is not."""
        while await self.next_answer() is not is_connected:
            pass


@asynccontextmanager
async def following(
    resolver: Callable[[], Resolver], *, host: str = NAME, pace: Pace = BY_DOUBT
) -> AsyncIterator[Watch]:
    source = DnsName(host, 8000, Pool("pool", "ns"), resolver=resolver, clock=time.monotonic, rng=Random(1), pace=pace)
    watch = Watch(source)
    task = asyncio.create_task(source.run(watch.report, watch))
    try:
        async with asyncio.timeout(20):
            yield watch
            assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{record.message} {fields_of(record)}" for record in caplog.records if record.levelname == "WARNING"]


def fields_of(record: Any) -> str:
    return " ".join(f"{key}={value}" for key, value in record.fields.items())


@table(
    ("addresses", "want"),
    {
        "one": (["10.0.0.1"], ["10.0.0.1:8000"]),
        "IPv6 alone": (["2001:db8:0::1"], ["[2001:db8::1]:8000"]),
        "both families, in one order however they come": (
            ["10.0.0.10", "2001:db8::2", "10.0.0.9", "2001:db8::1"],
            ["10.0.0.9:8000", "10.0.0.10:8000", "[2001:db8::1]:8000", "[2001:db8::2]:8000"],
        ),
        "one that stands twice": (["10.0.0.1", "10.0.0.1"], ["10.0.0.1:8000"]),
        "link-local": (["10.0.0.1", "fe80::1"], ["10.0.0.1:8000"]),
        "a sinkhole": (["10.0.0.1", "0.0.0.0", "::"], ["10.0.0.1:8000"]),
        "no address": ([], []),
    },
)
async def test_every_address_is_an_endpoint(server: DnsServer, addresses: list[str], want: list[str]) -> None:
    server.names[NAME] = addresses
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        assert watch.pools == [want]
        assert [canonical_address(endpoint.address) for endpoint in watch.endpoints] == want
        assert [(endpoint.id, endpoint.name) for endpoint in watch.endpoints] == [(each, each) for each in want]


async def test_a_thousand_addresses_come_over_tcp(server: DnsServer) -> None:
    server.names[NAME] = MANY_V4 + MANY_V6
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        assert set(watch.pools[0]) == {f"{ip}:8000" for ip in MANY_V4} | {f"[{ip}]:8000" for ip in MANY_V6}
        assert server.asked_over_tcp == {f"{NAME} A": 1, f"{NAME} AAAA": 1}


async def test_an_answer_that_is_cut_and_cannot_be_had_whole_is_none(
    server: DnsServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.names[NAME] = MANY_V4
    async with DnsServer() as other:
        other.answer = lambda wire, *, over_tcp: None if over_tcp else server.answer(wire, over_tcp=False)  # type: ignore[method-assign]
        async with following(other.resolver, pace=BY_DOUBT._replace(answer_s=SHORT_S)) as watch:
            assert not await watch.next_answer()
            assert watch.pools == []
            assert "over TCP: no answer in time" in warnings(caplog)[0]


async def test_aliases_are_followed(server: DnsServer) -> None:
    server.aliases = {NAME: "middle.example.", "middle.example.": "end.example."}
    server.names["end.example."] = ["10.0.0.1", "2001:db8::1"]
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        assert watch.pools == [["10.0.0.1:8000", "[2001:db8::1]:8000"]]


async def test_a_change_of_the_addresses_is_reported_and_nothing_else_is(server: DnsServer) -> None:
    server.names[NAME] = ["10.0.0.1", "10.0.0.2"]
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        server.names[NAME].reverse()
        assert await watch.ask()
        assert len(watch.pools) == 1
        server.names[NAME] = ["10.0.0.2", "10.0.0.3"]
        assert await watch.ask()
        assert watch.pools[1:] == [["10.0.0.2:8000", "10.0.0.3:8000"]]


def nothing(server: DnsServer) -> None:
    server.names[NAME] = []


def no_name(server: DnsServer) -> None:
    del server.names[NAME]


def servfail(server: DnsServer) -> None:
    server.troubles_of[NAME] = Rcode.SERVFAIL


def back(server: DnsServer) -> None:
    server.names[NAME] = ["10.0.0.1"]
    server.troubles_of.clear()


FULL = ["10.0.0.1:8000"]


@table(
    ("steps", "want"),
    {
        "an empty answer once": ([nothing, back], [FULL]),
        "an empty answer twice": ([nothing, nothing], [FULL, []]),
        "NXDOMAIN once": ([no_name, back], [FULL]),
        "NXDOMAIN twice": ([no_name, lambda _: None], [FULL, []]),
        "one and then the other": ([no_name, nothing], [FULL, []]),
        "once, and once more after addresses": ([nothing, back, nothing], [FULL]),
        "once, and once more after a failure": ([nothing, servfail, lambda each: each.troubles_of.clear()], [FULL]),
        "twice, then the addresses": ([nothing, nothing, back], [FULL, [], FULL]),
        "a second time twice": ([nothing, nothing, back, nothing], [FULL, [], FULL]),
    },
)
async def test_no_addresses_count_when_said_twice(
    server: DnsServer, steps: Sequence[Callable[[DnsServer], None]], want: list[list[str]]
) -> None:
    server.names[NAME] = ["10.0.0.1"]
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        for step in steps:
            step(server)
            await watch.ask()
        assert watch.pools == want


@pytest.mark.parametrize("has_name", [False, True], ids=["NXDOMAIN", "an empty answer"])
async def test_no_addresses_count_at_once_at_the_start(
    server: DnsServer, has_name: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if has_name:
        server.names[NAME] = []
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        assert watch.pools == [[]]
        assert await watch.ask()
        assert warnings(caplog) == [f"the name has no addresses name={NAME}"]
        server.names[NAME] = ["10.0.0.1"]
        assert await watch.ask()
        assert watch.pools == [[], FULL]


@table(
    ("trouble", "problem"),
    {
        "SERVFAIL": (Rcode.SERVFAIL, "SERVFAIL"),
        "REFUSED": (Rcode.REFUSED, "REFUSED"),
        "NOTIMP": (Rcode.NOTIMP, "NOTIMP"),
        "YXDOMAIN": (Rcode.YXDOMAIN, ""),
        "silence": (Silent(), "no answer in time"),
        "garbage": (Garbage(b"\xff" * 40), "no answer in time"),
    },
)
async def test_a_failure_takes_nothing_away_and_is_told_once(
    server: DnsServer, trouble: Trouble, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.names[NAME] = ["10.0.0.1"]
    async with following(server.resolver, pace=BY_DOUBT._replace(answer_s=SHORT_S)) as watch:
        assert await watch.next_answer()
        server.troubles_of[NAME] = trouble
        for _ in range(2):
            assert not await watch.ask()
        (told,) = warnings(caplog)
        assert f"{NAME} A: " in told
        assert f"{NAME} AAAA: " in told
        assert problem in told
        server.troubles_of.clear()
        server.names[NAME] = ["10.0.0.2"]
        assert await watch.ask()
        assert watch.pools == [FULL, ["10.0.0.2:8000"]]
        server.troubles_of[NAME] = trouble
        assert not await watch.ask()
        assert len(warnings(caplog)) == 2


async def test_two_problems_in_turns_are_told_once_each(server: DnsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with following(server.resolver) as watch:
        assert await watch.next_answer()
        caplog.clear()
        for trouble in (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.SERVFAIL, Rcode.REFUSED):
            server.troubles_of[NAME] = trouble
            assert not await watch.ask()
        assert len(warnings(caplog)) == 2


async def test_aliases_in_a_circle_are_a_failure(server: DnsServer) -> None:
    server.aliases = {NAME: "other.example.", "other.example.": NAME}
    async with following(server.resolver) as watch:
        assert not await watch.next_answer()
        assert watch.pools == []


@pytest.mark.parametrize("failing", [RdataType.A, RdataType.AAAA], ids=["A", "AAAA"])
@pytest.mark.parametrize("trouble", [Rcode.SERVFAIL, Silent()], ids=["SERVFAIL", "silence"])
async def test_a_family_that_fails_stays_and_the_others_news_counts(
    server: DnsServer, failing: RdataType, trouble: Trouble
) -> None:
    server.names[NAME] = ["10.0.0.1", "2001:db8::1"]
    async with following(server.resolver, pace=BY_DOUBT._replace(answer_s=SHORT_S)) as watch:
        assert await watch.next_answer()
        server.troubles[failing] = trouble
        server.names[NAME] = ["10.0.0.2", "2001:db8::2"]
        assert not await watch.ask()
        if failing == RdataType.A:
            assert watch.pools[1:] == [["10.0.0.1:8000", "[2001:db8::2]:8000"]]
        else:
            assert watch.pools[1:] == [["10.0.0.2:8000", "[2001:db8::1]:8000"]]


async def test_at_the_start_a_family_that_fails_leaves_the_pool_unknown_unless_the_other_has_addresses(
    server: DnsServer,
) -> None:
    server.names[NAME] = ["10.0.0.1"]
    server.troubles[RdataType.A] = Rcode.SERVFAIL
    async with following(server.resolver) as watch:
        assert not await watch.next_answer()
        assert watch.pools == []
        server.names[NAME] = ["10.0.0.1", "2001:db8::1"]
        assert not await watch.ask()
        assert watch.pools == [["[2001:db8::1]:8000"]]


async def test_what_is_wrong_is_told_until_it_is_over(server: DnsServer) -> None:
    async with following(server.resolver, pace=BY_DOUBT._replace(answer_s=SHORT_S)) as watch:
        assert await watch.next_answer()
        assert list(watch.problems) == [f"{NAME} has no addresses"]
        server.names[NAME] = ["10.0.0.1"]
        assert await watch.ask()
        assert not watch.problems
        await server.stop()
        assert not await watch.ask()
        assert len(watch.problems) == 2  # A and AAAA
        assert all(problem.startswith(NAME) for problem in watch.problems)
        await server.start()
        assert await watch.ask()
        assert not watch.problems


async def test_a_server_that_is_away_and_back(server: DnsServer) -> None:
    server.names[NAME] = ["10.0.0.1"]
    await server.stop()
    async with following(server.resolver, pace=HASTY._replace(answer_s=SHORT_S)) as watch:
        assert not await watch.next_answer()
        await server.start()
        await watch.wait_connected(True)
        assert watch.pools == [FULL]
        await server.stop()
        await watch.wait_connected(False)
        server.names[NAME] = ["10.0.0.2"]
        await server.start()
        await watch.wait_connected(True)
        assert watch.pools == [FULL, ["10.0.0.2:8000"]]


CLUSTER = ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example")


@pytest.mark.parametrize("host", ["pool", "pool.ns", "pool.ns.svc", "pool.ns.svc.cluster.local", NAME])
async def test_a_clusters_names_are_found_as_in_a_pod(server: DnsServer, host: str) -> None:
    server.names[NAME] = ["10.0.0.1"]
    async with following(lambda: server.resolver(search=CLUSTER, ndots=5), host=host) as watch:
        assert await watch.next_answer()
        assert watch.pools == [FULL]


@table(
    ("names", "ndots", "host", "want"),
    {
        "the first domain wins": ({"a.one.": ["10.0.0.1"], "a.two.": ["10.0.0.2"]}, 1, "a", "10.0.0.1"),
        "the second where the first has none": ({"a.two.": ["10.0.0.2"]}, 1, "a", "10.0.0.2"),
        "the second where the first is empty": ({"a.one.": [], "a.two.": ["10.0.0.2"]}, 1, "a", "10.0.0.2"),
        "few dots: the domains first": ({"a.b.": ["10.0.0.9"], "a.b.one.": ["10.0.0.1"]}, 2, "a.b", "10.0.0.1"),
        "many dots: the name itself first": ({"a.b.": ["10.0.0.9"], "a.b.one.": ["10.0.0.1"]}, 1, "a.b", "10.0.0.9"),
        "no ndots is one": ({"a.b.": ["10.0.0.9"], "a.b.one.": ["10.0.0.1"]}, None, "a.b", "10.0.0.9"),
        "a dot at the end: the name alone": ({"a.": ["10.0.0.9"], "a.one.": ["10.0.0.1"]}, 5, "a.", "10.0.0.9"),
        "never two names in one": ({"a.one.": ["10.0.0.1"], "a.two.": ["2001:db8::2"]}, 1, "a", "10.0.0.1"),
    },
)
async def test_which_name_is_meant(
    server: DnsServer, names: dict[str, list[str]], ndots: int | None, host: str, want: str
) -> None:
    server.names = names
    async with following(lambda: server.resolver(search=("one", "two"), ndots=ndots), host=host) as watch:
        assert await watch.next_answer()
        assert watch.pools == [[f"{want}:8000"]]


async def test_a_domain_that_fails_hides_no_later_one(server: DnsServer) -> None:
    server.names["pool.two."] = ["10.0.0.1"]
    server.troubles_of["pool.one."] = Rcode.SERVFAIL
    async with following(lambda: server.resolver(search=("one", "two")), host="pool") as watch:
        assert await watch.next_answer()
        assert watch.pools == [FULL]
        server.names["pool.two."] = []
        assert await watch.ask()
        assert await watch.ask()
        assert watch.pools == [FULL, []]


async def test_where_no_name_has_addresses_and_one_fails_nothing_is_known(server: DnsServer) -> None:
    server.troubles_of["pool.one."] = Rcode.SERVFAIL
    async with following(lambda: server.resolver(search=("one", "two")), host="pool") as watch:
        assert not await watch.next_answer()
        assert watch.pools == []


async def test_a_name_without_addresses_does_not_become_one_of_a_later_domain(server: DnsServer) -> None:
    server.names = {"pool.one.": ["10.0.0.1"], "pool.two.": ["192.0.2.1"]}
    async with following(lambda: server.resolver(search=("one", "two")), host="pool") as watch:
        assert await watch.next_answer()
        assert await watch.ask()
        assert server.asked["pool.two. A"] == 1
        del server.names["pool.one."]
        assert await watch.ask()
        assert await watch.ask()
        assert watch.pools == [FULL, []]


async def test_resolv_conf_may_be_missing_and_may_change(
    server: DnsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "resolv.conf"

    def read() -> Resolver:
        resolver = Resolver(str(file))
        resolver.port = server.port
        return resolver

    server.names = {"pool.one.": ["10.0.0.1"], "pool.two.": ["10.0.0.2"]}
    async with following(read, host="pool") as watch:
        assert not await watch.next_answer()
        for text in ("", "nameserver nonsense\n", "search one\n"):
            file.write_text(text)
            assert not await watch.ask()
        assert watch.pools == []
        told = warnings(caplog)
        assert f"cannot open {file}" in told[0]
        assert "no nameservers" in told[1]
        assert "nonsense" in told[2]
        assert len(told) == 3
        for domain in ("one", "two"):
            file.write_text(f"nameserver 127.0.0.1\nsearch {domain}\noptions ndots:5\n")
            assert await watch.ask()
        assert watch.pools == [FULL, ["10.0.0.2:8000"]]


class Broken(Resolver):
    """A resolver with a defect."""

    async def resolve(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a defect")


def raise_defect() -> Resolver:
    raise RuntimeError("a defect")


@pytest.mark.parametrize("broken", [lambda: Broken(configure=False), raise_defect], ids=["asking", "reading"])
async def test_a_defect_of_the_library_ends_nothing(
    server: DnsServer, broken: Callable[[], Resolver], caplog: pytest.LogCaptureFixture
) -> None:
    server.names[NAME] = ["10.0.0.1"]
    resolvers = [broken, broken, server.resolver]
    async with following(lambda: resolvers.pop(0)()) as watch:
        assert not await watch.next_answer()
        assert not await watch.ask()
        assert await watch.ask()
        assert watch.pools == [FULL]
        (told,) = warnings(caplog)
        assert "a defect" in told


@table(
    ("pace", "ttl_s", "least_s", "most_s"),
    {
        "TTL 0": (Pace(), 0, 1.0, 1.1),
        "CoreDNS' own": (Pace(), 5, 5.0, 5.5),
        "the longest": (Pace(), 30, 27.0, 30.0),
        "an hour": (Pace(), 3600, 27.0, 30.0),
    },
)
def test_the_time_to_the_next_question(pace: Pace, ttl_s: float, least_s: float, most_s: float) -> None:
    rests = {pace.rest_s(ttl_s, Random(seed)) for seed in range(100)}
    assert all(least_s <= rest_s <= most_s for rest_s in rests)
    assert len(rests) > 50


@asynccontextmanager
async def ticking(server: DnsServer) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Another source that asks without a rest. The wait that it yields gives any other time for many questions."""
    server.names["ticks."] = ["10.0.0.1"]
    async with following(server.resolver, host="ticks.", pace=HASTY):
        yield lambda: server.wait_asked("ticks. A", 20)


@table(
    ("ttls_s", "pace", "asks_again"),
    {
        "TTL 0 and a long least rest": ((0, 0, 0), HASTY._replace(least_s=NEVER_S, longest_s=NEVER_S), False),
        "TTL 0 and a short least rest": ((0, 0, 0), HASTY, True),
        "a long TTL": ((3000, 3000, 3000), HASTY._replace(longest_s=NEVER_S), False),
        "a long TTL and a short longest rest": ((3000, 3000, 3000), HASTY, True),
        "the alias' is the smallest": ((0, 3000, 3000), HASTY._replace(longest_s=NEVER_S), True),
        "that of A is the smallest": ((3000, 0, 3000), HASTY._replace(longest_s=NEVER_S), True),
        "that of no AAAA is the smallest": ((3000, 3000, 0), HASTY._replace(longest_s=NEVER_S), True),
    },
)
async def test_the_smallest_ttl_is_waited_for_within_bounds(
    server: DnsServer, ttls_s: tuple[int, int, int], pace: Pace, asks_again: bool
) -> None:
    server.aliases[NAME] = "end.example."
    server.names["end.example."] = ["10.0.0.1"]
    server.ttls_s = dict(zip((RdataType.CNAME, RdataType.A, RdataType.AAAA), ttls_s, strict=True))
    async with following(server.resolver, pace=pace) as watch, ticking(server) as wait:
        assert await watch.next_answer()
        if asks_again:
            await server.wait_asked(f"{NAME} A", 3)
        else:
            await wait()
            assert server.asked[f"{NAME} A"] == 1


async def test_doubts_wait_for_their_time(server: DnsServer) -> None:
    server.names[NAME] = ["10.0.0.1"]
    async with following(server.resolver, pace=BY_DOUBT._replace(doubt_s=NEVER_S)) as watch, ticking(server) as wait:
        assert await watch.next_answer()
        for number in range(100):
            watch.source.doubt(f"10.0.0.{number}:8000")
        await wait()
        assert server.asked[f"{NAME} A"] == 1


async def test_a_hundred_doubts_are_one_question(server: DnsServer) -> None:
    server.names[NAME] = ["10.0.0.1"]
    async with following(server.resolver) as watch, ticking(server) as wait:
        assert await watch.next_answer()
        for number in range(100):
            watch.source.doubt(f"10.0.0.{number}:8000")
        await wait()
        assert server.asked[f"{NAME} A"] == 2


async def test_a_doubt_amid_a_question_asks_again(server: DnsServer) -> None:
    """The answer that is on its way may be older than the doubt."""
    server.troubles_of[NAME] = Silent()
    async with following(server.resolver, pace=BY_DOUBT._replace(answer_s=SHORT_S)) as watch:
        await server.wait_asked(f"{NAME} A", 1)
        watch.source.doubt("any")
        assert not await watch.next_answer()
        assert not await watch.next_answer()


@pytest.mark.parametrize("is_asking", [True, False], ids=["asking", "resting"])
async def test_it_ends_when_it_is_cancelled(server: DnsServer, is_asking: bool) -> None:
    if is_asking:
        server.troubles_of[NAME] = Silent()
    source = DnsName(
        NAME, 8000, Pool("pool"), resolver=server.resolver, clock=time.monotonic, rng=Random(1), pace=BY_DOUBT
    )
    watch = Watch(source)
    task = asyncio.create_task(source.run(watch.report, watch))
    async with asyncio.timeout(10):
        await (server.wait_asked(f"{NAME} A", 1) if is_asking else watch.next_answer())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
