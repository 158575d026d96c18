"""The rewrites and objectives that every API group states, and what the registry is told of them."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from extproc.registry.changes import NamesListed
from extproc.sources.kubernetes.names import (
    NAME_GROUPS,
    Doubtful,
    InferenceModelRewrite,
    InferenceObjective,
    aliases_of,
    objectives_of,
)
from extproc.sources.kubernetes.objects import KubernetesObject
from extproc.sources.kubernetes.pools import Group
from extproc.telemetry.changes import join_names
from extproc.telemetry.logs import Log
from extproc.values.pool import Pool

T = TypeVar("T", bound=KubernetesObject)

_log = Log("sources.kubernetes")


class NamesFollower:
    """Keeps what each API group states, and reports it when that changes what holds for the pool.

    Nothing is reported before anything is stated: a cluster need not have these kinds, nor let us read them.
    """

    def __init__(self, pool: Pool, *, report: Callable[[NamesListed], object]) -> None:
        self._pool = pool
        self._report = report
        self._rewrites = {group: OneKind[InferenceModelRewrite](self._reconsider) for group in NAME_GROUPS}
        self._objectives = {group: OneKind[InferenceObjective](self._reconsider) for group in NAME_GROUPS}
        self._reported = NamesListed()
        self._doubtful: frozenset[Doubtful] = frozenset()

    def __repr__(self) -> str:
        return f"<NamesFollower of {self._pool}>"

    def rewrites_of(self, group: Group) -> "OneKind[InferenceModelRewrite]":
        """The follower of one group's InferenceModelRewrites."""
        return self._rewrites[group]

    def objectives_of(self, group: Group) -> "OneKind[InferenceObjective]":
        """The follower of one group's InferenceObjectives."""
        return self._objectives[group]

    def _reconsider(self) -> None:
        name = self._pool.name
        rewrites = [each for kind in self._rewrites.values() for each in kind.objects]
        objectives = [each for kind in self._objectives.values() for each in kind.objects]
        aliases, doubtful = aliases_of(rewrites, name)
        self._doubt(frozenset(doubtful))
        names = NamesListed(aliases, objectives_of(objectives, name))
        if names != self._reported:
            self._reported = names
            aliased, named = [alias.name for alias in aliases], list(names.objectives)
            _log.info("names changed", aliases=join_names(aliased), objectives=join_names(named))
            self._report(names)

    def _doubt(self, doubtful: frozenset[Doubtful]) -> None:
        """Says what has no effect, each once as long as it stands."""
        for rewrite, what in sorted(doubtful - self._doubtful):
            _log.warning("part of an InferenceModelRewrite has no effect", rewrite=rewrite, problem=what)
        self._doubtful = doubtful


class OneKind(Generic[T]):
    """Keeps the objects of one kind in one group. What it once read still holds while it cannot be read."""

    def __init__(self, reconsider: Callable[[], None]) -> None:
        self._reconsider = reconsider
        self._by_uid: dict[str, T] = {}

    @property
    def objects(self) -> list[T]:
        """Those that are there."""
        return list(self._by_uid.values())

    def list_all(self, objects: Sequence[T]) -> None:
        """See `Follower.list_all`."""
        self._by_uid = {each.metadata.uid: each for each in objects}
        self._reconsider()

    def change(self, seen: Sequence[T], gone: Sequence[T]) -> None:
        """See `Follower.change`."""
        for each in gone:
            self._by_uid.pop(each.metadata.uid, None)
        for each in seen:
            self._by_uid[each.metadata.uid] = each
        self._reconsider()

    def miss(self) -> None:
        """See `Follower.miss`. The kind is optional."""

    def hear(self, *, is_connected: bool, problem: str = "") -> None:
        """See `Follower.hear`. That the API server is away is said by who follows the pool."""
