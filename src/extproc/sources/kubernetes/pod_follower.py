"""The pods of a selection, and what the registry is told of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from extproc.registry.changes import Listing, PoolChanged, PoolListed
from extproc.sources.kubernetes.objects import Pod
from extproc.sources.kubernetes.pods import endpoints_of, is_selected
from extproc.sources.kubernetes.pools import Selection
from extproc.sources.meters import SourceMeters

SOURCE = "pods"
"""Its name in metrics."""

Report = Callable[[PoolListed | PoolChanged], object]


class _Known(NamedTuple):
    """A pod, and what the registry was told of it."""

    pod: Pod
    listings: tuple[Listing, ...]


class PodFollower:
    """Keeps the pods that the API server tells of, and reports the endpoints that they make."""

    def __init__(self, *, report: Report, meters: SourceMeters, engine_label: str | None = None) -> None:
        self._report = report
        self._meters = meters
        self._engine_label = engine_label
        self.selector = ""
        """The label selector that is followed."""
        self._ports: tuple[int, ...] = ()
        self._pods: dict[str, _Known] = {}
        """By UID."""
        self._dead: set[str] = set()
        """UIDs that a reading found deleted before the watch told it. What the watch still says of them is old."""

    def __repr__(self) -> str:
        return f"<PodFollower of {len(self._pods)} pods on {self._ports}>"

    def select(self, selection: Selection | None) -> None:
        """Follows another selection, or none. What is surely no longer covered goes at once; what is new comes with the
        next list.
        """
        pods = [known.pod for known in self._pods.values()]
        covered: list[Pod] = []
        if selection is not None:
            self.selector, labels, self._ports = selection
            covered = pods if labels is None else [pod for pod in pods if is_selected(pod, labels)]
        if pods:
            self._report_all(covered)

    def list_all(self, objects: Sequence[Pod]) -> None:
        """See `Follower.list_all`."""
        self._dead.clear()
        self._report_all(objects)

    def change(self, seen: Sequence[Pod], gone: Sequence[Pod]) -> None:
        """See `Follower.change`. What is older than what is known of a pod is left out.

        Most of what changes in a pod bears on no endpoint, and of that the registry is not told.
        """
        listings: list[Listing] = []
        ids: set[str] = set()
        for pod in seen:
            if self._is_news(pod):
                before, after = self._pods.pop(pod.metadata.uid, None), self._know(pod)
                if before is None or before.listings != after:
                    ids.update(_ids_of(before))
                    listings += after
        for pod in gone:
            ids.update(_ids_of(self._pods.pop(pod.metadata.uid, None)))
        ids.difference_update(listing.endpoint.id for listing in listings)
        if listings or ids:
            self._report(PoolChanged(tuple(listings), tuple(ids)))

    def miss(self) -> None:
        """See `Follower.miss`. What is known stays; who may not read pods is told by the log."""

    def hear(self, *, is_connected: bool, problem: str = "") -> None:
        """See `Follower.hear`."""
        self._meters.say_source(SOURCE, is_connected=is_connected, problems=(problem,) if problem else ())

    def find(self, endpoint_id: str) -> Pod | None:
        """The pod of an endpoint."""
        known = self._pods.get(endpoint_id.rpartition("/")[0])
        return None if known is None else known.pod

    def correct(self, pod: Pod, found: Pod | None) -> None:
        """Takes in what a reading of `pod` found: its present state, another pod of its name, or none that is selected.

        What went while it was read stays gone.
        """
        if pod.metadata.uid not in self._pods:
            return
        if found is not None and found.metadata.uid == pod.metadata.uid:
            self.change((found,), ())
        else:
            self._dead.add(pod.metadata.uid)
            self.change((), (pod,))

    def _is_news(self, pod: Pod) -> bool:
        uid = pod.metadata.uid
        if uid in self._dead:
            return False
        known = self._pods.get(uid)
        return known is None or _version(pod) >= _version(known.pod)

    def _know(self, pod: Pod) -> tuple[Listing, ...]:
        """Keeps a pod. Returns its endpoints."""
        listings = endpoints_of(pod, self._ports, engine_label=self._engine_label)
        self._pods[pod.metadata.uid] = _Known(pod, listings)
        return listings

    def _report_all(self, pods: Iterable[Pod]) -> None:
        """Keeps these pods and no others."""
        self._pods = {}
        self._report(PoolListed(tuple(listing for pod in pods for listing in self._know(pod))))


def _ids_of(known: _Known | None) -> list[str]:
    return [] if known is None else [listing.endpoint.id for listing in known.listings]


def _version(pod: Pod) -> int:
    """The resource version as a number, by which versions of one object can be compared; 0 where it is none.

    Source: Kubernetes' API concepts, "Resource versions"; KEP-5504.
    """
    text = pod.metadata.resource_version
    return int(text) if text.isascii() and text.isdigit() else 0
