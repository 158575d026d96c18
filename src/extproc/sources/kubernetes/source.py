"""A pool in Kubernetes, followed for ever: its InferencePool, or a fixed selection, and the pods that it selects.

Of an InferencePool also what stands beside it: InferenceModelRewrites and InferenceObjectives, if there are any.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from extproc.registry.changes import NamesListed, PoolChanged, PoolListed
from extproc.sources.backoff import Backoff
from extproc.sources.kubernetes.access import Access
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.doubts import Doubts
from extproc.sources.kubernetes.names import NAME_GROUPS, InferenceModelRewrite, InferenceObjective
from extproc.sources.kubernetes.names_follower import NamesFollower
from extproc.sources.kubernetes.objects import Decoder, InferencePool, KubernetesObject, Pod
from extproc.sources.kubernetes.pod_follower import PodFollower
from extproc.sources.kubernetes.pool_follower import PoolFollower
from extproc.sources.kubernetes.pools import GROUPS, Group, Selection
from extproc.sources.kubernetes.reflector import Follower, Pace, Reflector
from extproc.sources.meters import SourceMeters
from extproc.values.pool import Pool

Report = Callable[[PoolListed | PoolChanged | NamesListed], object]
"""Takes in what the registry is to know."""
T = TypeVar("T", bound=KubernetesObject)


class Wanted(NamedTuple):
    """What to follow."""

    pool: Pool
    selection: Selection | None = None
    """Followed without an InferencePool where it is given."""
    group: str | None = None
    """The API group to look for the InferencePool in; None for each in turn."""
    engine_label: str | None = None
    """The label of a pod that tells its engine; None for the usual ones."""


class KubernetesPool:
    """Reports the endpoints of a pool in Kubernetes. `run` it once."""

    def __init__(
        self,
        wanted: Wanted,
        access: Access,
        *,
        clock: Callable[[], float],
        rng: Random,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        self.pool = wanted.pool
        self.origin = f"Kubernetes, by {access.origin}"
        self._wanted = wanted
        self._access = access
        self._clock = clock
        self._rng = rng
        self._pace = pace
        backoff = Backoff(pace.first_backoff_s, pace.longest_backoff_s, rng=rng)
        self._doubts = Doubts(path=self._pods_path, client=ApiClient(access), backoff=backoff)

    def __repr__(self) -> str:
        return f"<KubernetesPool {self.pool}>"

    def doubt(self, endpoint_id: str) -> None:
        """Asks for the endpoint's pod to be read again from the API server: it does not behave as if it were there."""
        self._doubts.add(endpoint_id)

    async def run(self, report: Report, meters: SourceMeters) -> None:
        """Follows the pool for ever. What is known is never taken back because the API server is away."""
        follower = PodFollower(report=report, meters=meters, engine_label=self._wanted.engine_label)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._doubts.run(follower), name="pods in doubt")
            if self._wanted.selection is not None:
                follower.select(self._wanted.selection)
                await self._follow_pods(self._wanted.selection, follower)
                return
            pools = PoolFollower(self.pool, self._groups, meters=meters)
            for group in self._groups:
                tasks.create_task(self._follow_pool(group, pools), name=f"the pool in {group.name}")
            names = NamesFollower(self.pool, report=report)
            for group in NAME_GROUPS:
                tasks.create_task(self._follow_rewrites(group, names), name=f"rewrites in {group.name}")
                tasks.create_task(self._follow_objectives(group, names), name=f"objectives in {group.name}")
            selection: Selection | None = None
            pods: asyncio.Task[None] | None = None
            while True:
                before, selection = selection, await pools.next_selection()
                follower.select(selection)
                if pods is not None and (selection is None or before is None or selection.selector != before.selector):
                    pods.cancel()
                    pods = None
                if pods is None and selection is not None:
                    pods = tasks.create_task(self._follow_pods(selection, follower), name="pods")

    @property
    def _groups(self) -> tuple[Group, ...]:
        return tuple(group for group in GROUPS if self._wanted.group in (None, group.name))

    async def _follow_pool(self, group: Group, pools: PoolFollower) -> None:
        selector = {"fieldSelector": f"metadata.name={self.pool.name}"}
        await self._reflect(self._path(group, "inferencepools"), selector, Decoder(InferencePool), pools.of(group))

    async def _follow_rewrites(self, group: Group, names: NamesFollower) -> None:
        path = self._path(group, "inferencemodelrewrites")
        await self._reflect(path, {}, Decoder(InferenceModelRewrite), names.rewrites_of(group), is_optional=True)

    async def _follow_objectives(self, group: Group, names: NamesFollower) -> None:
        path = self._path(group, "inferenceobjectives")
        await self._reflect(path, {}, Decoder(InferenceObjective), names.objectives_of(group), is_optional=True)

    async def _follow_pods(self, selection: Selection, follower: PodFollower) -> None:
        await self._reflect(self._pods_path, {"labelSelector": selection.selector}, Decoder(Pod), follower)

    async def _reflect(
        self,
        path: str,
        selector: dict[str, str],
        decoder: Decoder[T],
        follower: Follower[T],
        *,
        is_optional: bool = False,
    ) -> None:
        client = ApiClient(self._access)
        try:
            await Reflector(
                client=client,
                path=path,
                selector=selector,
                decoder=decoder,
                follower=follower,
                pace=self._pace,
                clock=self._clock,
                rng=self._rng,
                is_optional=is_optional,
            ).run()
        finally:
            await client.close()

    def _path(self, group: Group, plural: str) -> str:
        return f"/apis/{group.name}/{group.version}/namespaces/{quote(self.pool.namespace, safe='')}/{plural}"

    @property
    def _pods_path(self) -> str:
        return f"/api/v1/namespaces/{quote(self.pool.namespace, safe='')}/pods"
