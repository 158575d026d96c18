"""What each API group says of one InferencePool, and the selection that follows from it."""

import asyncio
from collections.abc import Sequence

from extproc.sources.kubernetes.objects import InferencePool
from extproc.sources.kubernetes.pools import Group, Selection, selection_of
from extproc.sources.meters import SourceMeters
from extproc.telemetry.logs import Log
from extproc.values.pool import Pool

SOURCE = "inferencepools"
"""Its name in metrics."""

_log = Log("sources.kubernetes")


class PoolFollower:
    """What each API group says of one InferencePool, and the selection that follows from it."""

    def __init__(self, pool: Pool, groups: Sequence[Group], *, meters: SourceMeters) -> None:
        self._pool = pool
        self._groups = groups
        self._meters = meters
        self._found: dict[Group, InferencePool | None] = {}
        """What each group has said: the pool, or that it has none. One that has said nothing yet is not in it."""
        self._connected: set[Group] = set()
        self._problems: dict[Group, str] = {}
        """How the last reading of a group failed, of those where it did."""
        self._selection: Selection | None = None
        self._said = ""
        self._is_decided = False
        self._news = asyncio.Event()

    async def next_selection(self) -> Selection | None:
        """What the pool selects, once that is known or has changed; None where there is no pool that selects."""
        while True:
            await self._news.wait()
            self._news.clear()
            selection, is_decided = self._select()
            if is_decided and (selection != self._selection or not self._is_decided):
                self._selection, self._is_decided = selection, True
                return selection

    def _select(self) -> tuple[Selection | None, bool]:
        """The selection of the first group that has the pool, and whether enough is known to say so."""
        for group in self._groups:
            if group not in self._found:
                return None, False
            pool = self._found[group]
            if pool is None:
                continue
            selection, problem = selection_of(pool)
            what = f"the InferencePool selects nothing: {problem}" if problem else "the InferencePool was found"
            self._say(what, group.name, is_well=not problem)
            return selection, True
        self._say("there is no such InferencePool", ", ".join(group.name for group in self._groups), is_well=False)
        return None, True

    def _say(self, what: str, group: str, *, is_well: bool) -> None:
        if (line := f"{what} {group}") != self._said:
            self._said = line
            (_log.info if is_well else _log.warning)(what, pool=self._pool, group=group)

    def of(self, group: Group) -> "_OneGroup":
        """The follower of one group's list and watch."""
        return _OneGroup(self, group)

    def find(self, group: Group, pool: InferencePool | None) -> None:
        """Takes in what a group says now."""
        self._found[group] = pool
        self._news.set()

    def miss(self, group: Group) -> None:
        """Takes in that a group cannot be read. What it once said still holds: a pool is gone when that is said."""
        if group not in self._found:
            self.find(group, None)

    def hear(self, group: Group, *, is_connected: bool, problem: str = "") -> None:
        """Takes in whether a group was read as it should. The one that has the pool counts; where none has it, one that
        can be read is enough, as the other may not even be served.
        """
        (self._connected.add if is_connected else self._connected.discard)(group)
        self._problems.pop(group, None)
        if problem:
            self._problems[group] = problem
        holders = [group for group, pool in self._found.items() if pool is not None]
        is_connected = not self._connected.isdisjoint(holders or self._groups)
        self._meters.say_source(SOURCE, is_connected=is_connected, problems=self._list_problems(holders))

    def _list_problems(self, holders: Sequence[Group]) -> list[str]:
        """What is wrong with the pool now. Without one, whatever kept a group from being read may have hidden it."""
        problems = [self._problems[group] for group in holders or self._groups if group in self._problems]
        if holders:
            pools = [pool for group in self._groups if (pool := self._found.get(group)) is not None]
            _, problem = selection_of(pools[0])
            return [f"the InferencePool {self._pool} selects nothing: {problem}", *problems] if problem else problems
        if len(self._found) < len(self._groups):
            return problems
        groups = " or ".join(group.name for group in self._groups)
        return [f"there is no InferencePool {self._pool} in {groups}", *problems]


class _OneGroup:
    """Tells a pool follower what one group says."""

    def __init__(self, pools: PoolFollower, group: Group) -> None:
        self._pools = pools
        self._group = group

    def list_all(self, objects: Sequence[InferencePool]) -> None:
        """See `Follower.list_all`."""
        self._pools.find(self._group, objects[0] if objects else None)

    def change(self, seen: Sequence[InferencePool], gone: Sequence[InferencePool]) -> None:
        """See `Follower.change`. One that was deleted and made anew is `seen`."""
        if seen or gone:
            self._pools.find(self._group, seen[-1] if seen else None)

    def miss(self) -> None:
        """See `Follower.miss`."""
        self._pools.miss(self._group)

    def hear(self, *, is_connected: bool, problem: str = "") -> None:
        """See `Follower.hear`."""
        self._pools.hear(self._group, is_connected=is_connected, problem=problem)
