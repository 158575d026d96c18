"""The one owner of the current snapshot."""

from collections.abc import Callable

from extproc.registry.changes import Change, ModelsListed, ProbeFailed
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
        self._asked_at_s: dict[str, float] = {}
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

        The outcome of a probe that was sent before one whose outcome is already known is old news, and dropped: probes
        overlap, and a slow answer of a dead process must not confirm its successor.
        """
        if isinstance(change, ModelsListed | ProbeFailed):
            if change.asked_at_s < self._asked_at_s.get(change.endpoint_id, change.asked_at_s):
                return self.snapshot
            if change.endpoint_id in self.snapshot.endpoints:
                self._asked_at_s[change.endpoint_id] = change.asked_at_s
                if isinstance(change, ModelsListed):
                    self._answered_at_s[change.endpoint_id] = now
        before, after = self.snapshot, reduce(self.snapshot, change, now=now)
        if after is before:
            return before
        self.snapshot = after
        for gone in before.endpoints.keys() - after.endpoints.keys():
            self._asked_at_s.pop(gone, None)
            self._answered_at_s.pop(gone, None)
        for listener in tuple(self._listeners):
            listener(before, after)
        return after
