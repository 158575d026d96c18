"""`GET /metrics` by a real server: in both formats, and without keeping others from their work."""

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.registry import Collector
from tests.manifests.recording import Site as WatchedPicker
from tests.manifests.recording import see_everything
from tests.servers.test_ext_proc import PHI, Site, answer, post

from extproc.app import build
from extproc.registry.changes import PoolListed
from extproc.servers.metrics_http import MetricsServer
from extproc.settings.load import load
from extproc.settings.telling import TelemetrySettings
from extproc.telemetry.logs import configure_logs
from extproc.telemetry.metrics.exposition import PART_LINES
from extproc.values.decision import Route, Scores, Work

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


async def scrape(registry: CollectorRegistry, accept: str = "") -> tuple[str, str]:
    """Content type and text."""
    server = MetricsServer(registry)
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/metrics", headers={"accept": accept}) as response:
                assert response.status == 200
                return response.headers["content-type"], await response.text()
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", id="text"),
        pytest.param(OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8", id="OpenMetrics"),
    ],
)
async def test_both_formats_are_readable_and_say_the_same(accept: str, content_type: str) -> None:
    picker = WatchedPicker()
    see_everything(picker)
    found, text = await scrape(picker.metrics.registry, accept)
    assert found == content_type
    read = read_openmetrics if "openmetrics" in content_type else read_text
    assert series_of(read(text)) == series_of(picker.metrics.registry.collect())


def series_of(families: Iterable[Metric]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples}


class Turns(Collector):
    """Large families, and how many turns another task had before each was asked for."""

    def __init__(self) -> None:
        self.turns = 0
        self.seen: list[int] = []

    def collect(self) -> Iterable[Metric]:
        for number in range(5):
            self.seen.append(self.turns)
            family = GaugeMetricFamily(f"family_{number}", "Many.", labels=["number"])
            for each in range(PART_LINES):
                family.add_metric([str(each)], 1)
            yield family


async def test_others_have_their_turn_while_a_large_page_is_made() -> None:
    registry, others = CollectorRegistry(), Turns()
    registry.register(others)

    async def work() -> None:
        while True:
            others.turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    others.seen.clear()
    await scrape(registry)
    task.cancel()
    assert len(set(others.seen)) == len(others.seen) == 5


async def test_a_name_with_half_a_character_fails_no_scrape() -> None:
    class Odd(Collector):
        def collect(self) -> Iterable[Metric]:
            family = GaugeMetricFamily("odd", "Odd.", labels=["model"])
            family.add_metric(["m\ud83d"], 1)
            yield family

    registry = CollectorRegistry()
    registry.register(Odd())
    assert 'odd{model="m?"} 1.0\n' in (await scrape(registry))[1]


async def test_the_second_request_with_a_prompt_finds_it_cached() -> None:
    """Half of the prompts' tokens are sent to where they are thought to be."""
    async with Site(scorers=["prefix"]).serve() as site:
        site.list_models("phi")
        body = json.dumps({"model": "phi", "prompt": "x" * 4096}).encode()
        for _ in range(2):
            await answer(await site.send(*post(body)))
        labels = {"pool": "default/test", "model": "phi"}
        cached, new = (site.count("extproc_prompt_tokens_total", kind=kind, **labels) for kind in ("cached", "new"))
        assert 0.9 * new < cached <= new


async def test_a_picker_tells_what_it_has_in_mind_and_how_late_it_is(tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text("pools: [{name: test}]")
    ports = {f"{name}-port": "0" for name in ("grpc", "grpc-health", "metrics", "admin-grpc", "admin-http")}
    flags = {"endpoints-file": str(tmp_path / "pool.yaml"), "secure-serving": "false", "drain-delay": "0s", **ports}
    loaded = load(text="{requests: {maxHeldBytes: 100MiB}, scheduling: {prefixBlocks: 1000}}", flag_values=flags)
    app = build(loaded, environ={}, clock=time.monotonic, wall_clock=time.time, rng=Random(1))
    read = app._metrics.registry.get_sample_value
    app._report(PoolListed.of((PHI,)))
    app._decider.record(Route((PHI,), Scores(), Work(1024, 256.0, 0.0, (1, 2, 3, 4))), now=1.0)
    app._budget.take(77)
    names = ("held_bytes", "held_limit_bytes", "prefix_blocks", "prefix_limit_blocks")
    assert [read(f"extproc_{name}") for name in names] == [77.0, 100 << 20, 4.0, 1000.0]
    running = asyncio.create_task(app.run())
    async with asyncio.timeout(30):
        while not read("extproc_event_loop_delay_seconds_count"):
            assert not running.done()
            await asyncio.sleep(0)
    app.stop()
    app.stop()
    await running


class Fixed(Collector):
    """One metric, the same at each scrape."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        yield self._metric


class Defect(Collector):
    """A metric that cannot be read."""

    def collect(self) -> Iterable[Metric]:
        raise ZeroDivisionError


async def test_a_defect_is_a_500_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(TelemetrySettings())
    registry = CollectorRegistry()
    registry.register(Defect())
    server = MetricsServer(registry)
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            assert (response.status, await response.text()) == (500, "internal error: the picker's log has it\n")
    finally:
        await server.stop()
    logged = capsys.readouterr().err
    assert "a request could not be answered path=/metrics" in logged
    assert "ZeroDivisionError" in logged


async def test_somebody_who_does_not_read_holds_up_no_stop() -> None:
    """aiohttp would wait for a minute, twice, and Kubernetes would kill the process."""
    registry = CollectorRegistry()
    gauge = GaugeMetricFamily("large", "x" * 1000, labels=["name"])
    for number in range(20_000):
        gauge.add_metric([f"{number:0100}"], 1.0)
    registry.register(Fixed(gauge))
    server = MetricsServer(registry)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 20)
    await reader.readexactly(1)
    async with asyncio.timeout(30):
        await server.stop()
    writer.transport.abort()
