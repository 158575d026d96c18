"""The one owner of the current snapshot."""

from collections.abc import Callable, Collection

from extproc.registry.changes import (
    Change,
    Failure,
    FirstAnswerOverdue,
    ModelsListed,
    NamesListed,
    PoolChanged,
    PoolListed,
    ProbeFailed,
)
from extproc.registry.reduce import reduce
from extproc.values.endpoint import Endpoint
from extproc.values.pool import Pool
from extproc.values.snapshot import EndpointState, Snapshot

Listener = Callable[[Snapshot, Snapshot, Collection[str]], None]

NO_NAMES = NamesListed()


class Store:
    """Holds the current snapshot, applies changes to it and tells listeners (called with the old one, the new one, and
    the ids of the endpoints between which they differ at most: to compare thousands at each change would cost more than
    the change).

    Synchronous and single-threaded. What changes at every probe (the age of an answer) stays out of the snapshots, so
    that a list that says the same again costs none.

    `configured`: the names of the settings, which hold from the start and whatever a source says of the same ones.
    """

    def __init__(self, pool: Pool, *, now: float = 0.0, configured: NamesListed = NO_NAMES) -> None:
        self._configured = configured
        self._stated = NO_NAMES
        """The names that the source has stated, without those of the settings."""
        self.snapshot = reduce(Snapshot(pool, made_at_s=now), configured, now=now)
        self._listeners: list[Listener] = []
        self._settled_at_s: dict[str, float] = {}
        """When the probe was sent whose outcome last settled what an endpoint lists: an answer, or a refusal."""
        self._answered_at_s: dict[str, float] = {}
        self._by_address: dict[str, Endpoint] = {}

    def __repr__(self) -> str:
        snapshot = self.snapshot
        return f"<Store {snapshot.pool} v{snapshot.version} {len(snapshot.endpoints)} endpoints>"

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` at each new snapshot, until what is returned is called. It must not raise."""
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
        if isinstance(change, NamesListed):
            self._stated = change
            change = self._with_configured(change)
        before, after = self.snapshot, reduce(self.snapshot, change, now=now)
        if after is before:
            return before
        self.snapshot = after
        ids = _ids_of(change, before, after)
        for id_ in ids:
            self._note(id_, before.endpoints.get(id_), after.endpoints.get(id_), now)
        for listener in tuple(self._listeners):
            listener(before, after, ids)
        return after

    def configure(self, configured: NamesListed, *, now: float) -> None:
        """Other names hold by the settings from now on; what the source has stated holds beside them as before."""
        self._configured = configured
        self.apply(self._stated, now=now)

    def _with_configured(self, stated: NamesListed) -> NamesListed:
        aliases = {alias.name: alias for alias in (*stated.aliases, *self._configured.aliases)}
        return NamesListed(tuple(aliases.values()), stated.objectives | self._configured.objectives)

    def _note(self, id_: str, before: EndpointState | None, after: EndpointState | None, now: float) -> None:
        """Keeps what is known beside the snapshots up with one endpoint's change."""
        if after is None or (before is not None and before.endpoint.address != after.endpoint.address):
            at = self._by_address.get(before.endpoint.address) if before is not None else None
            if before is not None and at is not None and at.id == id_:
                del self._by_address[before.endpoint.address]
        if after is None:
            self._settled_at_s.pop(id_, None)
            self._answered_at_s.pop(id_, None)
            return
        at = self._by_address.get(after.endpoint.address)
        if at is None or at.id == id_ or after.is_ready:
            self._by_address[after.endpoint.address] = after.endpoint
        if _is_new_life(before, after):
            self._settled_at_s[id_] = now  # what was asked before may have been asked of its predecessor

    def endpoint_at(self, address: str) -> Endpoint | None:
        """The endpoint with this `ip:port`, None where none is known. Of two, the one that was ready last."""
        return self._by_address.get(address)

    def _is_news(self, change: ModelsListed | ProbeFailed, now: float) -> bool:
        id_ = change.endpoint_id
        if id_ not in self.snapshot.endpoints or change.asked_at_s < self._settled_at_s.get(id_, change.asked_at_s):
            return False
        if isinstance(change, ModelsListed):
            self._answered_at_s[id_] = now
        if isinstance(change, ModelsListed) or change.failure is Failure.REFUSED:
            self._settled_at_s[id_] = change.asked_at_s
        return True


def _is_new_life(before: EndpointState | None, after: EndpointState) -> bool:
    """True when the source says that the endpoint became ready, or is in another incarnation."""
    if before is None or not after.source_says_ready:
        return False
    return not before.is_ready or before.incarnation != after.incarnation


def _ids_of(change: Change, before: Snapshot, after: Snapshot) -> Collection[str]:
    """The endpoints that a change can have changed."""
    match change:
        case PoolListed():
            return before.endpoints.keys() | after.endpoints.keys()
        case PoolChanged(listings, gone):
            return {*gone, *(listing.endpoint.id for listing in listings)}
        case ModelsListed() | ProbeFailed() | FirstAnswerOverdue():
            return (change.endpoint_id,)
        case _:
            return ()
