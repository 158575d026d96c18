"""Pods that do not behave as if they were there, read again from the API server: a watch can lose an event."""

import asyncio

from extproc.errors import ApiError
from extproc.sources.backoff import Backoff
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.complaints import Complaints
from extproc.sources.kubernetes.objects import Decoder, Pod
from extproc.sources.kubernetes.pod_follower import PodFollower
from extproc.telemetry.logs import Log

_log = Log("sources.kubernetes")


class Doubts:
    """Endpoints in doubt, one after another, each until a reading tells or its pod is gone."""

    def __init__(self, *, path: str, client: ApiClient, backoff: Backoff) -> None:
        self._path = path
        self._client = client
        self._backoff = backoff
        self._decoder = Decoder(Pod)
        self._complaints = Complaints(path)
        self._ids: dict[str, None] = {}
        self._is_wanted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Doubts {list(self._ids)}>"

    def add(self, endpoint_id: str) -> None:
        """Asks for the endpoint's pod to be read."""
        self._ids[endpoint_id] = None
        self._is_wanted.set()

    async def run(self, follower: PodFollower) -> None:
        """Reads what is in doubt, for ever, and corrects `follower`."""
        try:
            while True:
                await self._is_wanted.wait()
                for endpoint_id in list(self._ids):
                    try:
                        is_clear = await self._clear(endpoint_id, follower)
                    except Exception:  # noqa: BLE001 - a defect in reading one pod must not end the server
                        _log.exception("a pod was read in an unforeseen way", endpoint=endpoint_id)
                        is_clear = True
                    if not is_clear:
                        await asyncio.sleep(self._backoff.pause_s())
                        break
                    self._ids.pop(endpoint_id, None)
                if not self._ids:
                    self._is_wanted.clear()
        finally:
            await self._client.close()

    async def _clear(self, endpoint_id: str, follower: PodFollower) -> bool:
        """Whether nothing is left in doubt about the endpoint."""
        pod, selector = follower.find(endpoint_id), follower.selector
        if pod is None:
            return True
        try:
            found = await self._read(pod.metadata.name, selector)
        except ApiError as exc:
            self._complaints.say("read a pod", exc)
            return False
        self._complaints.settle("read a pod")
        self._backoff.reset()
        if selector == follower.selector:  # else the list of the new selector tells
            follower.correct(pod, found)
        return True

    async def _read(self, name: str, selector: str) -> Pod | None:
        """The pod of that name that the selector covers, None where there is none. Errors: ApiError.

        By a list, whose emptiness is an answer. A 404 to a reading of the pod itself could be anybody's on the way.
        """
        params = {"labelSelector": selector, "fieldSelector": f"metadata.name={name}"}
        page = self._decoder.read_page(await self._client.get(self._path, params))
        return page.objects[0] if page.objects else None
