"""A `KubernetesPool` at work on a cluster, with the registry that it reports to."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import MappingProxyType

from tests.cluster import WAIT_S, Cluster

from extproc.registry.changes import NamesListed, PoolChanged, PoolListed
from extproc.registry.store import Store
from extproc.sources.kubernetes.access import Access, find_access
from extproc.sources.kubernetes.pools import Selection
from extproc.sources.kubernetes.reflector import Pace
from extproc.sources.kubernetes.source import KubernetesPool, Wanted
from extproc.values.pool import Pool
from extproc.values.snapshot import Snapshot

POOL = "llm"
LABELS = {"app": "llm"}
HURRY = Pace(first_backoff_s=0.02, longest_backoff_s=0.1, silence_s=20.0, healthy_s=0.2)


class Following:
    """What a source has told so far."""

    def __init__(self, source: KubernetesPool) -> None:
        self.source = source
        self.store = Store(source.pool)
        self.reports: Counter[str] = Counter()
        self.connected: dict[str, bool] = {}
        self.problems: dict[str, tuple[str, ...]] = {}
        self.failures: Counter[str] = Counter()
        self.heard: Counter[str] = Counter()
        self.defects: list[Exception] = []
        """What taking in the next reports raises."""
        self._changed = asyncio.Event()

    def report(self, change: PoolListed | PoolChanged | NamesListed) -> None:
        """Takes in what the source reports."""
        if self.defects:
            self._changed.set()
            raise self.defects.pop()
        self.reports[type(change).__name__] += 1
        self.store.apply(change, now=time.monotonic())
        self._changed.set()

    def say_source(self, source: str, *, is_connected: bool, problems: Sequence[str] = ()) -> None:
        """Takes in how the source fares."""
        self.connected[source] = is_connected
        self.problems[source] = tuple(problems)
        self.failures[source] += not is_connected
        self.heard[source] += is_connected
        self._changed.set()

    @property
    def snapshot(self) -> Snapshot:
        """What the registry knows."""
        return self.store.snapshot

    def outline(self) -> dict[str, bool]:
        """Every endpoint's name, and whether it is ready."""
        return {state.endpoint.name: state.is_ready for state in self.snapshot.endpoints.values()}

    def id_of(self, name: str) -> str:
        """The id of the endpoint with that name."""
        return next(id_ for id_, state in self.snapshot.endpoints.items() if state.endpoint.name == name)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition holds; asked whenever something was told; fails after a while."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"still {self.outline()}, {self.connected}, {self.reports}") from None

    async def until_outline(self, **endpoints: bool) -> None:
        """Returns once the pool has these endpoints, each ready or not, and no others."""
        await self.until(lambda: self.outline() == {name.replace("_", "-"): is_ for name, is_ in endpoints.items()})

    async def until_names(
        self, aliases: Mapping[str, str], objectives: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Returns once the registry has these aliases (`model*weight …`) and objectives, and no others."""

        def named() -> dict[str, str]:
            return {
                alias.name: " ".join(f"{target.model}*{target.weight}" for target in alias.targets)
                for alias in self.snapshot.aliases.values()
            }

        await self.until(lambda: named() == aliases and self.snapshot.objectives == objectives)

    async def until_connected(self, source: str, *, is_: bool = True) -> None:
        """Returns once the source says so."""
        await self.until(lambda: self.connected.get(source) == is_)


@asynccontextmanager
async def following(
    cluster: Cluster,
    tmp_path: Path,
    *,
    group: str | None = None,
    selection: Selection | None = None,
    pace: Pace = HURRY,
    access: Access | None = None,
) -> AsyncIterator[Following]:
    """A source that follows the pool `llm` (or a selection) through the cluster's gate."""
    if access is None:
        kubeconfig = tmp_path / "kubeconfig"
        cluster.write_kubeconfig(kubeconfig)
        access = find_access(str(kubeconfig), environ={}, home=tmp_path)
    wanted = Wanted(Pool(POOL, cluster.namespace), selection, group)
    told = Following(KubernetesPool(wanted, access, clock=time.monotonic, rng=Random(1), pace=pace))
    task = asyncio.create_task(told.source.run(told.report, told))
    try:
        yield told
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
