"""The endpoints file: what is read, what is refused, and what becomes of edits."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from extproc.errors import ConfigError
from extproc.registry.changes import PoolListed
from extproc.settings.schema import SourceSettings
from extproc.sources.choice import open_source
from extproc.sources.static import POLL_INTERVAL_S, EndpointsFile, parse_endpoints
from extproc.values.endpoint import Endpoint
from extproc.values.pool import Pool

GOOD = """
pools:
  - name: demo
    endpoints:
      - {name: phi-0, address: "127.0.0.1:8000"}
      - {name: gemma-0, address: "[::0:1]:8001", labels: {zone: a}}
"""


def test_a_good_file() -> None:
    pool, endpoints = parse_endpoints(GOOD, "file")
    assert pool == Pool("demo", "default")
    assert endpoints == (
        Endpoint("phi-0/127.0.0.1:8000", "phi-0", "127.0.0.1:8000"),
        Endpoint("gemma-0/[::1]:8001", "gemma-0", "[::1]:8001", {"zone": "a"}),
    )


@pytest.mark.parametrize(("key", "engine"), [(None, "sglang"), ("kind", "vllm")])
def test_labels_tell_the_role_and_the_engine_as_those_of_a_pod_do(tmp_path: Path, key: str | None, engine: str) -> None:
    labels = "{llm-d.ai/role: prefill, llm-d.ai/engine-type: sglang, kind: vllm}"
    file = tmp_path / "endpoints.yaml"
    file.write_text(f"pools: [{{name: a, endpoints: [{{name: x, address: '1.1.1.1:1', labels: {labels}}}]}}]")
    source = open_source(
        SourceSettings.model_validate({"endpointsFile": str(file), "engineLabelKey": key}),
        environ={},
        clock=time.monotonic,
        rng=Random(1),
    )
    assert isinstance(source, EndpointsFile)
    [endpoint] = source.endpoints
    assert (endpoint.role, endpoint.engine) == ("prefill", engine)


@pytest.mark.parametrize(
    ("text", "problems"),
    {
        "empty": ("", ["pools: is required"]),
        "no YAML": ("pools: [", ["file: is not YAML: "]),
        "a list": ("[1]", ["file: must be a mapping, not a list"]),
        "no pool": ("pools: []", ["pools: one pool to a server; got 0"]),
        "two pools": ("pools: [{name: a}, {name: b}]", ["pools: one pool to a server; got 2"]),
        "a nameless pool": ("pools: [{endpoints: []}]", ["pools[0].name: is required"]),
        "an unknown key": (
            "pools: [{name: a, endpoint: []}]",
            ["pools[0].endpoint: unknown key, did you mean endpoints?"],
        ),
        "several things at once": (
            "pools: [{name: a, endpoints: "
            "[{name: x, address: 'host:80'}, {address: '1.2.3.4'}, {name: z, address: '::1:80'}]}]",
            [
                "pools[0].endpoints[0].address: 'host' is not an IP address",
                "pools[0].endpoints[1].name: is required",
                "pools[0].endpoints[1].address: '1.2.3.4' is not ip:port",
                "pools[0].endpoints[2].address: '::1:80': an IPv6 address needs brackets: [::1]:80",
            ],
        ),
        "a name twice": (
            "pools: [{name: a, endpoints: [{name: x, address: '1.1.1.1:1'}, {name: x, address: '1.1.1.1:2'}]}]",
            ["pools[0].endpoints[1].name: x stands twice"],
        ),
        "an address twice": (
            "pools: [{name: a, endpoints: [{name: x, address: '[::1]:1'}, {name: y, address: '[0::1]:1'}]}]",
            ["pools[0].endpoints[1].address: [::1]:1 stands twice (see endpoints[0])"],
        ),
    }.values(),
)
def test_a_bad_file_tells_every_problem(text: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse_endpoints(text, "file")
    found = [str(problem) for problem in error.value.problems]
    assert len(found) == len(problems)
    assert all(is_.startswith(expected) for is_, expected in zip(found, problems, strict=True)), found


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff")], ids=["folder", "no text"]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "pool.yaml")
    with pytest.raises(ConfigError):
        EndpointsFile(str(tmp_path / "pool.yaml"))


class Reports:
    """What a source reported, each as an event to wait for."""

    def __init__(self) -> None:
        self.names: asyncio.Queue[list[str]] = asyncio.Queue()
        self.connected: asyncio.Queue[bool] = asyncio.Queue()
        self._was_connected = False

    def report(self, change: PoolListed) -> None:
        self.names.put_nowait([listing.endpoint.name for listing in change.listings])

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        assert source == "file"
        if not (is_connected and self._was_connected):  # each good reading says so
            self.connected.put_nowait(is_connected)
        self._was_connected = is_connected


@asynccontextmanager
async def running(path: Path, source: EndpointsFile | None = None) -> AsyncIterator[Reports]:
    reports = Reports()
    source = source or EndpointsFile(str(path))
    task = asyncio.create_task(source.run(reports.report, reports))
    async with asyncio.timeout(10):
        assert await reports.names.get() == ["phi-0", "gemma-0"]
        assert await reports.connected.get()
        yield reports
    task.cancel()


async def test_an_edit_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    async with running(path) as reports:
        path.write_text(GOOD.replace("phi-0", "phi-1"))
        assert await reports.names.get() == ["phi-1", "gemma-0"]


async def test_the_label_that_tells_the_engine_is_the_same_after_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    source = EndpointsFile(str(path), engine_label="zone")
    assert [endpoint.engine for endpoint in source.endpoints] == ["", "a"]
    async with running(path, source) as reports:
        path.write_text(GOOD.replace("phi-0", "phi-1").replace("zone: a", "zone: b"))
        await reports.names.get()
        assert [endpoint.engine for endpoint in source.endpoints] == ["", "b"]


async def test_a_file_behind_a_symbolic_link_is_followed_as_configmaps_swap_it(tmp_path: Path) -> None:
    for name, text in (("one", GOOD), ("two", GOOD.replace("phi-0", "phi-2"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pool.yaml").write_text(text)
    (tmp_path / "data").symlink_to("one")
    async with running(tmp_path / "data" / "pool.yaml") as reports:
        (tmp_path / "fresh").symlink_to("two")
        (tmp_path / "fresh").replace(tmp_path / "data")
        assert await reports.names.get() == ["phi-2", "gemma-0"]


async def test_one_bad_edit_after_another_is_not_good_in_between(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    async with running(path) as reports:
        for text in ("pools: [", "pools: ]"):
            path.write_text(text)
            assert await reports.connected.get() is False
        path.write_text(GOOD)
        assert await reports.connected.get() is True
        assert reports.names.empty()


async def test_a_file_that_is_written_in_place_is_not_taken_half_written(tmp_path: Path) -> None:
    """Its first half is a good file too, of one endpoint."""
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    fresh = GOOD.replace("phi-0", "phi-4")
    half = fresh[: fresh.index("      - {name: gemma-0")]
    assert len(parse_endpoints(half, "file")[1]) == 1
    async with running(path) as reports:
        path.write_text(half)
        await asyncio.sleep(POLL_INTERVAL_S / 2)
        path.write_text(fresh)
        assert await reports.names.get() == ["phi-4", "gemma-0"]


def test_a_file_that_would_block_its_reader_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is no regular file"):
        EndpointsFile(str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("pools: ["),
        lambda path: path.write_text(""),
        lambda path: path.write_text(GOOD.replace("demo", "other")),
        lambda path: path.unlink(),
    ],
    ids=["no YAML", "empty", "another pool", "gone"],
)
async def test_a_bad_edit_keeps_the_last_good_content_and_says_so_once(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    async with running(path) as reports:
        spoil(path)
        assert await reports.connected.get() is False
        path.write_text(GOOD.replace("phi-0", "phi-3"))
        assert await reports.connected.get() is True
        assert await reports.names.get() == ["phi-3", "gemma-0"]
        assert reports.names.empty()
        assert reports.connected.empty()


def test_a_file_that_stays_bad_costs_no_memory(tmp_path: Path) -> None:
    """An exception that is raised again and again would gather a traceback of all of them."""
    path = tmp_path / "pool.yaml"
    path.write_text(GOOD)
    source = EndpointsFile(str(path))
    path.write_text("pools: [")
    source._reread()
    depths = []
    for _ in range(5):
        with pytest.raises(ConfigError) as error:
            source._reread()
        depths.append(len(error.traceback))
    assert depths[1:] == [depths[1]] * 4
