"""The pods of a selection, and what the registry is told of them."""

from collections.abc import Callable, Sequence

from extproc.registry.changes import Listing, PoolChanged, PoolListed
from extproc.sources.kubernetes.objects import Pod
from extproc.sources.kubernetes.pods import endpoints_of, is_selected
from extproc.sources.kubernetes.pools import Selection
from extproc.sources.meters import SourceMeters

SOURCE = "pods"
"""Its name in metrics."""

Report = Callable[[PoolListed | PoolChanged], object]


class PodFollower:
    """Keeps the pods that the API server tells of, and reports the endpoints that they make."""

    def __init__(self, *, report: Report, meters: SourceMeters) -> None:
        self._report = report
        self._meters = meters
        self._ports: tuple[int, ...] = ()
        self._pods: dict[str, Pod] = {}
        """By UID."""
        self._dead: set[str] = set()
        """UIDs that a reading found deleted before the watch told it. What the watch still says of them is old."""

    def __repr__(self) -> str:
        return f"<PodFollower of {len(self._pods)} pods on {self._ports}>"

    def select(self, selection: Selection | None) -> None:
        """Follows another selection, or none. What is surely no longer covered goes at once; what is new comes with the
        next list.
        """
        had_pods = bool(self._pods)
        if selection is None:
            self._pods.clear()
        else:
            self._ports = selection.ports
            if (labels := selection.labels) is not None:
                self._pods = {uid: pod for uid, pod in self._pods.items() if is_selected(pod, labels)}
        if had_pods:
            self._report_all()

    def list_all(self, objects: Sequence[Pod]) -> None:
        """See `Follower.list_all`."""
        self._pods = {pod.metadata.uid: pod for pod in objects}
        self._dead.clear()
        self._report_all()

    def change(self, seen: Sequence[Pod], gone: Sequence[Pod]) -> None:
        """See `Follower.change`. What is older than what is known of a pod is left out."""
        news = [pod for pod in seen if self._is_news(pod)]
        ids: set[str] = set()
        for pod in (*news, *gone):
            if (known := self._pods.pop(pod.metadata.uid, None)) is not None:
                ids.update(self._ids_of(known))
        self._pods.update((pod.metadata.uid, pod) for pod in news)
        listings = [listing for pod in news for listing in self._listings_of(pod)]
        ids.difference_update(listing.endpoint.id for listing in listings)
        if listings or ids:
            self._report(PoolChanged(tuple(listings), tuple(ids)))

    def miss(self) -> None:
        """See `Follower.miss`. What is known stays; who may not read pods is told by the log."""

    def hear(self, *, is_connected: bool) -> None:
        """See `Follower.hear`."""
        self._meters.say_source(SOURCE, is_connected=is_connected)

    def find(self, endpoint_id: str) -> Pod | None:
        """The pod of an endpoint."""
        return self._pods.get(endpoint_id.rpartition("/")[0])

    def correct(self, pod: Pod, found: Pod | None) -> None:
        """Takes in what a reading of `pod` found: its present state, another pod of that name, or none."""
        if found is not None and found.metadata.uid == pod.metadata.uid:
            self.change((found,), ())
        elif pod.metadata.uid in self._pods:
            self._dead.add(pod.metadata.uid)
            self.change((), (pod,))

    def _is_news(self, pod: Pod) -> bool:
        uid = pod.metadata.uid
        if uid in self._dead:
            return False
        known = self._pods.get(uid)
        return known is None or _version(pod) >= _version(known)

    def _report_all(self) -> None:
        self._report(PoolListed(tuple(listing for pod in self._pods.values() for listing in self._listings_of(pod))))

    def _listings_of(self, pod: Pod) -> tuple[Listing, ...]:
        return endpoints_of(pod, self._ports)

    def _ids_of(self, pod: Pod) -> list[str]:
        return [listing.endpoint.id for listing in self._listings_of(pod)]


def _version(pod: Pod) -> int:
    """The resource version as a number, by which versions of one object can be compared; 0 where it is none.

    Source: Kubernetes' API concepts, "Resource versions"; KEP-5504.
    """
    text = pod.metadata.resource_version
    return int(text) if text.isascii() and text.isdigit() else 0
