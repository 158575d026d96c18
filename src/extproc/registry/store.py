"""The one owner of the current snapshot."""

from collections.abc import Callable

from extproc.registry.changes import Change, Failure, ModelsListed, ProbeFailed
from extproc.registry.reduce import reduce
from extproc.values.pool import Pool
from extproc.values.snapshot import Snapshot

Listener = Callable[[Snapshot, Snapshot], None]


class Store:
    """Holds the current snapshot, applies changes to it and tells listeners (called with the old and the new one).

    Synchronous and single-threaded. What changes at every probe (the age of an answer) stays out of the snapshots, so
    that a list that says the same again costs none.
    """

    def __init__(self, pool: Pool, *, now: float = 0.0) -> None:
        self.snapshot = Snapshot(pool, made_at_s=now)
        self._listeners: list[Listener] = []
        self._settled_at_s: dict[str, float] = {}
        """When the probe was sent whose outcome last settled what an endpoint lists: an answer, or a refusal."""
        self._answered_at_s: dict[str, float] = {}

    def __repr__(self) -> str:
        snapshot = self.snapshot
        return f"<Store {snapshot.pool} v{snapshot.version} {len(snapshot.endpoints)} endpoints>"

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener(before, after)` at each new snapshot, until what is returned is called. It must not raise."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def answered_at_s(self, endpoint_id: str) -> float | None:
        """Monotonic seconds of the last good answer of an endpoint; None when there was none."""
        return self._answered_at_s.get(endpoint_id)

    def apply(self, change: Change, *, now: float) -> Snapshot:
        """Applies `change` and returns the current snapshot.

        Probes overlap. The outcome of one that was sent before the last answer, or the last refused connection, is old
        news and dropped: a slow answer of a dead process must not confirm its successor. Other failures say nothing of
        the list, so they make no answer old: a slow engine whose hurried probes time out is known by its patient one.
        """
        if isinstance(change, ModelsListed | ProbeFailed) and not self._is_news(change, now):
            return self.snapshot
        before, after = self.snapshot, reduce(self.snapshot, change, now=now)
        if after is before:
            return before
        self.snapshot = after
        for gone in before.endpoints.keys() - after.endpoints.keys():
            self._settled_at_s.pop(gone, None)
            self._answered_at_s.pop(gone, None)
        for listener in tuple(self._listeners):
            listener(before, after)
        return after

    def _is_news(self, change: ModelsListed | ProbeFailed, now: float) -> bool:
        id_ = change.endpoint_id
        if id_ not in self.snapshot.endpoints or change.asked_at_s < self._settled_at_s.get(id_, change.asked_at_s):
            return False
        if isinstance(change, ModelsListed):
            self._answered_at_s[id_] = now
        if isinstance(change, ModelsListed) or change.failure is Failure.REFUSED:
            self._settled_at_s[id_] = change.asked_at_s
        return True
