"""`responsePhase: track`: the picker's count of requests in flight against the engines' own, at every moment."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from random import Random
from typing import NamedTuple

import aiohttp
import pytest
from tests.e2e.http2_client import Http2Client, Stage
from tests.e2e.picker import Picker
from tests.e2e.upstreams import HeldUpstream, InstantUpstream, ResettingUpstream, Upstream

from extproc.cli.demo.envoy import TRACKING, Envoy, GatewaySettings

BODY = b'{"model": "llama", "prompt": "Hello"}'
LARGE = b'{"model": "llama", "prompt": "' + b"p" * 1_000_000 + b'"}'
PATH = "/v1/completions"
GAUGE = "extproc_endpoint_inflight"
TRACK = {"envoy": {"responsePhase": "track", "fallbackEndpoints": 1}, "probes": {"models": {"interval": "1h"}}}


class Site(NamedTuple):
    """A gateway that tracks, and its picker."""

    envoy: Envoy
    picker: Picker
    http: aiohttp.ClientSession

    async def settles(self, **counts: int) -> None:
        """Returns once the gauge says so of each endpoint: a message may still be on its way."""
        async with asyncio.timeout(20):
            for name, count in counts.items():
                while await self.picker.metric(GAUGE, endpoint=name) != count:
                    pass

    async def streams_end(self) -> None:
        async with asyncio.timeout(20):
            while await self.picker.metric("extproc_streams"):
                pass


@asynccontextmanager
async def serve(**upstreams: Upstream) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        for upstream in upstreams.values():
            await stack.enter_async_context(upstream)
        addresses = {name: upstream.address for name, upstream in upstreams.items()}
        picker = await stack.enter_async_context(Picker(addresses, config=TRACK))
        settings = GatewaySettings(
            endpoints=tuple(addresses.values()),
            picker=picker.address,
            processing_mode=TRACKING,
            retries=1,
            ext_proc={"response_attributes": ["upstream.address"]},
        )
        envoy = await stack.enter_async_context(Envoy(settings))
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(envoy.url, connector=connector))
        yield Site(envoy, picker, http)


async def test_the_gauge_is_the_engines_own_count_under_a_random_load() -> None:
    """Requests come, end and are given up at random; what differs at any moment is what is on its way at that moment.

    The picker counts a request from its decision on, so before the engine has it, and until Envoy has told its end, so
    after the engine has let go of it. At each step the difference is at most the number of requests that move in it,
    and once nothing moves there is none.
    """
    rng = Random(5)
    engines = {"a": HeldUpstream(), "b": HeldUpstream()}
    async with serve(**engines) as site:
        clients: set[asyncio.Task[bool]] = set()
        largest = 0
        for _ in range(40):
            given_up = {client for client in clients if rng.random() < 0.1}
            for client in given_up:
                client.cancel()
            begun = {asyncio.create_task(_ask(site.http)) for _ in range(rng.randrange(20))}
            ended = 0
            for engine in engines.values():
                ended += engine.open_answers // 3
                engine.release(engine.open_answers // 3)
            moving = len(given_up) + len(begun) + ended
            for name, engine in engines.items():
                counted = await site.picker.metric(GAUGE, endpoint=name)
                assert abs(counted - engine.open_answers) <= moving, (name, counted, engine.open_answers, moving)
            clients = await _still_open(engines.values(), clients | begun)
            await site.settles(**{name: engine.open_answers for name, engine in engines.items()})
            largest = max(largest, len(clients))
        for engine in engines.values():
            engine.release()
        assert all(await asyncio.gather(*clients))
        await site.settles(a=0, b=0)
        assert largest > 30
        assert sum(engine.abandoned for engine in engines.values()) > 10
        assert "Traceback" not in site.picker.log_text()


async def _still_open(engines: Iterable[HeldUpstream], clients: set[asyncio.Task[bool]]) -> set[asyncio.Task[bool]]:
    """The clients whose answers have not ended, once the engines hold exactly theirs."""
    async with asyncio.timeout(20):
        while True:
            left = {client for client in clients if not client.done()}
            if sum(engine.open_answers for engine in engines) == len(left):
                return left
            await asyncio.sleep(0)


def _has_open(engine: HeldUpstream, count: int) -> bool:
    return engine.open_answers == count


async def _ask(http: aiohttp.ClientSession) -> bool:
    """True for a whole answer."""
    async with http.post(PATH, data=BODY) as response:
        return response.status == 200 and await response.read() == b"first, last."


async def test_two_thousand_open_answers_at_once() -> None:
    """Envoy's default circuit breakers would stop at 1,024 (docs/envoy.md)."""
    count = 2_000
    engine = HeldUpstream()
    async with serve(a=engine) as site:
        requests: list[asyncio.Task[bool]] = []
        # In waves: thousands of new connections in one moment are a test of this process's own event loop.
        for _ in range(count // 200):
            requests += [asyncio.create_task(_ask(site.http)) for _ in range(200)]
            await engine.changes.until(partial(_has_open, engine, len(requests)), timeout_s=60)
        await site.settles(a=count)
        assert await site.picker.metric("extproc_streams") == count
        engine.release()
        assert all(await asyncio.gather(*requests))
        await site.settles(a=0)
        await site.streams_end()


@pytest.mark.parametrize(
    ("stage", "body", "outcome"),
    [
        ("after the headers", LARGE, None),
        ("amid the body", LARGE, None),
        ("after the body", BODY, None),
        ("amid the response", BODY, "routed"),
    ],
)
async def test_a_client_that_goes_away_is_released_at_every_stage(
    stage: Stage, body: bytes, outcome: str | None
) -> None:
    count = 20
    engine = HeldUpstream()
    async with serve(a=engine) as site:
        async with Http2Client(site.envoy.port) as client:
            asks = [client.request("POST", PATH, {}, body, abort_at=stage) for _ in range(count)]
            answers = await asyncio.gather(*asks)
        assert {answer.error for answer in answers} == {"aborted"}
        await engine.changes.until(lambda: engine.open_answers == 0)
        await site.streams_end()
        assert await site.picker.metric(GAUGE) == 0
        if outcome:
            assert await site.picker.metric("extproc_requests_total", outcome=outcome) == count
        assert "Traceback" not in site.picker.log_text()


@pytest.mark.parametrize("is_amid", [False, True], ids=["before the response", "amid the response"])
async def test_an_upstream_that_resets_is_released(is_amid: bool) -> None:
    engine = ResettingUpstream("amid the response" if is_amid else "before the response")
    count = 20
    async with serve(a=engine) as site:
        heads: asyncio.Queue[int] = asyncio.Queue()
        requests = [asyncio.create_task(_status(site.http, heads)) for _ in range(count)]
        if is_amid:
            # Else the reset overtakes a head that still waits for the picker's answer to it, and Envoy says 502.
            for _ in range(count):
                await heads.get()
            await site.settles(a=count)
            engine.reset_all()
        statuses = await asyncio.gather(*requests)
        assert set(statuses) == ({"cut"} if is_amid else {"503"})
        await site.streams_end()
        assert await site.picker.metric(GAUGE) == 0


async def _status(http: aiohttp.ClientSession, heads: asyncio.Queue[int]) -> str:
    try:
        async with http.post(PATH, data=BODY) as response:
            heads.put_nowait(response.status)
            await response.read()
            return str(response.status)
    except aiohttp.ClientPayloadError:
        return "cut"


async def test_a_retry_is_counted_where_it_really_went() -> None:
    """One endpoint resets every request; Envoy goes on to the other, which holds them all."""
    count = 20
    bad, good = ResettingUpstream("before the response"), HeldUpstream()
    async with serve(bad=bad, good=good) as site:
        requests = [asyncio.create_task(_ask(site.http)) for _ in range(count)]
        await good.changes.until(lambda: good.open_answers == count)
        assert bad.resets > 0, "the other was never picked first"
        await site.settles(bad=0, good=count)
        good.release()
        assert all(await asyncio.gather(*requests))
        await site.settles(bad=0, good=0)


async def test_the_answers_are_counted_by_status_and_model() -> None:
    async with serve(a=InstantUpstream(early=False)) as site:
        for _ in range(3):
            async with site.http.post(PATH, data=BODY) as response:
                assert response.status == 200
        await site.streams_end()
        assert await site.picker.metric("extproc_responses_total", model="llama", status="200") == 3
        assert await site.picker.metric("extproc_time_to_headers_seconds_count") == 3
        assert await site.picker.metric("extproc_stream_messages_total", direction="out") == 3 * 2
        assert await site.picker.metric("extproc_stream_messages_total", kind="response_body") == 0


async def test_a_stop_ends_tracking_streams_and_cuts_no_answer() -> None:
    count = 50
    engine = HeldUpstream()
    async with serve(a=engine) as site:
        requests = [asyncio.create_task(_ask(site.http)) for _ in range(count)]
        await engine.changes.until(lambda: engine.open_answers == count)
        await site.settles(a=count)
        assert await site.picker.stop() == 0
        assert engine.open_answers == count, "every answer goes on without the picker"
        engine.release()
        assert all(await asyncio.gather(*requests))
