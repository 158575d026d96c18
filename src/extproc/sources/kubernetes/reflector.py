"""One kind of object, listed and watched for ever: what client-go calls a reflector.

| what happens | what follows |
|---|---|
| a list is complete | the follower gets it whole; a watch from its version |
| events | the follower gets those that came together at once; the version moves on, with bookmarks too |
| the watch ends in peace | a watch from the last version |
| nothing comes for `silence_s` | the same: a connection may be half open, or nothing may happen at all |
| the watch breaks: reset, a line that is cut, an event that is none | a list: what was lost is not known |
| 410 Gone, as a status or in the stream | a list |
| no connection, 401, 429, 5xx | what is known stays; again after a back-off with jitter, or the longer Retry-After |
| 404, 403 | nobody serves that kind of object, or not to us: the follower is told; again after the back-off |

Every turn that was not a watch of some length ends with a pause, so that no loop spins whatever the server does.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, NamedTuple, Protocol, TypeVar

from extproc.errors import ApiAnswerError, ApiError, ApiStatusError
from extproc.sources.backoff import Backoff
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.complaints import Complaints
from extproc.sources.kubernetes.objects import Bookmark, Decoder, Gone, KubernetesObject, Seen, Status
from extproc.telemetry.logs import Log

PAGE_OBJECTS = 500
WATCH_RATIO = (0.7, 0.85)
"""A watch is asked for this part of the longest silence. Two seconds before the end the API server sends a bookmark, by
itself only after a minute: without any, a quiet pool's version grows too old to go on from. Source: measured, 1.36.
"""
LONGEST_RETRY_AFTER_S = 60.0
GONE = 410
NOT_FOUND = 404
FORBIDDEN = 403

T = TypeVar("T", bound=KubernetesObject)
T_contra = TypeVar("T_contra", bound=KubernetesObject, contravariant=True)

_log = Log("sources.kubernetes")


class Pace(NamedTuple):
    """How patient a reflector is. The defaults are for service, tests are in a hurry."""

    first_backoff_s: float = 0.2
    longest_backoff_s: float = 10.0
    silence_s: float = 30.0
    """A stream without a byte for this long is opened anew: a half-open connection must not hide changes for longer."""
    healthy_s: float = 5.0
    """A watch that was open for this long was a good one: the back-off starts again from the first."""


class Follower(Protocol[T_contra]):
    """Who is told of the objects."""

    def list_all(self, objects: Sequence[T_contra]) -> None:
        """These are all there are now."""

    def change(self, seen: Sequence[T_contra], gone: Sequence[T_contra]) -> None:
        """`seen` are new or changed, `gone` no longer covered. None is in both, and each stands once."""

    def miss(self) -> None:
        """Nobody serves this kind of object, or this client may not read it."""

    def hear(self, *, is_connected: bool, problem: str = "") -> None:
        """The API server has just been heard, or (False) has failed to answer as it should: with this `problem`."""


class Reflector(Generic[T]):
    """Lists and watches one path. `run` it once."""

    def __init__(
        self,
        *,
        client: ApiClient,
        path: str,
        selector: dict[str, str],
        decoder: Decoder[T],
        follower: Follower[T],
        pace: Pace,
        clock: Callable[[], float],
        rng: Random,
        is_optional: bool = False,
    ) -> None:
        """`is_optional`: that nobody serves this kind of object, or not to us, is as it may be."""
        self._client = client
        self._path = path
        self._selector = selector
        self._decoder = decoder
        self._follower = follower
        self._pace = pace
        self._clock = clock
        self._rng = rng
        self._backoff = Backoff(pace.first_backoff_s, pace.longest_backoff_s, rng=rng)
        self._complaints = Complaints(path, is_optional=is_optional)
        self._watching_since_s: float | None = None

    def __repr__(self) -> str:
        return f"<Reflector of {self._path} {self._selector}>"

    async def run(self) -> None:
        """Lists and watches for ever."""
        version = ""
        while True:
            doing, pause_s, has_failed = "list", 0.0, False
            self._watching_since_s = None
            try:
                if not version:
                    version = await self._list()
                    self._settle(doing)
                doing = "watch"
                version = await self._watch(version)
            except ApiError as exc:
                version, has_failed = "", True
                pause_s = self._complain(doing, exc)
            except Exception as exc:  # noqa: BLE001 - a defect in reading one answer must not end the server
                version, has_failed = "", True
                self._follower.hear(is_connected=False, problem=self._describe(doing, repr(exc)))
                _log.exception("Kubernetes was read in an unforeseen way", path=self._path)
            is_healthy = self._has_watched_for(self._pace.healthy_s)
            if is_healthy:
                self._backoff.reset()
            if has_failed or not is_healthy:
                pause_s = max(pause_s, self._backoff.pause_s())
            await asyncio.sleep(pause_s)

    def _has_watched_for(self, seconds: float) -> bool:
        since_s = self._watching_since_s
        return since_s is not None and self._clock() - since_s >= seconds

    async def _list(self) -> str:
        """Hands the follower the whole list. Returns its version. Errors: ApiError; then the follower got nothing."""
        objects: list[T] = []
        params = {**self._selector, "limit": str(PAGE_OBJECTS)}
        while True:
            page = self._decoder.read_page(await self._client.get(self._path, params))
            objects += page.objects
            if not page.continue_:
                break
            if page.continue_ == params.get("continue"):
                raise ApiAnswerError("a list that does not go on: its next page is this one")
            params["continue"] = page.continue_
        self._follower.list_all(objects)
        return page.resource_version

    async def _watch(self, version: str) -> str:
        """Hands the follower what changes from `version` on, until the watch ends in peace or falls silent.

        Returns the version to go on from. Errors: ApiError; then what came since is not known.
        """
        params = {
            **self._selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, int(self._pace.silence_s * self._rng.uniform(*WATCH_RATIO)))),
        }
        try:
            async with self._client.watch(self._path, params, silence_s=self._pace.silence_s) as batches:
                self._watching_since_s = self._clock()
                self._settle("watch")
                async for lines in batches:
                    version = self._take(lines, version)
                    self._follower.hear(is_connected=True)
        except TimeoutError:
            _log.debug("watch is silent, it is opened anew", path=self._path)
        return version

    def _take(self, lines: list[bytes], version: str) -> str:
        """Hands the follower the last word on each object. Returns the version. Errors: ApiError, after good lines."""
        seen: dict[str, T] = {}
        gone: dict[str, T] = {}
        try:
            for line in lines:
                event = self._decoder.read_event(line)
                match event:
                    case Seen(object_):
                        gone.pop(object_.metadata.uid, None)
                        seen[object_.metadata.uid] = object_
                        version = object_.metadata.resource_version
                    case Gone(object_):
                        seen.pop(object_.metadata.uid, None)
                        gone[object_.metadata.uid] = object_
                        version = object_.metadata.resource_version
                    case Bookmark(resource_version):
                        version = resource_version
                    case Status():
                        raise ApiStatusError(event.code, event.message)
        finally:
            if seen or gone:
                self._follower.change(tuple(seen.values()), tuple(gone.values()))
        return version

    def _settle(self, doing: str) -> None:
        """The server answered as it should."""
        self._complaints.settle(doing)
        self._follower.hear(is_connected=True)

    def _complain(self, doing: str, exc: ApiError) -> float:
        """Says what went wrong. Returns how long the server asks to be left alone, in seconds."""
        status = exc.status if isinstance(exc, ApiStatusError) else None
        if status == GONE and doing == "watch":
            return 0.0  # nothing is wrong: this client was away for longer than the server remembers
        if status in (NOT_FOUND, FORBIDDEN):
            self._follower.miss()
        self._follower.hear(is_connected=False, problem=self._describe(doing, exc))
        self._complaints.say(doing, exc)
        retry_after_s = exc.retry_after_s if isinstance(exc, ApiStatusError) else None
        return min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)

    def _describe(self, doing: str, what: object) -> str:
        """A problem with the verb and the path that it is about: who reads it need not know what was tried."""
        return f"{doing} of {self._path}: {what}"
