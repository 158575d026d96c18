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
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.objects import Bookmark, Decoder, Gone, KubernetesObject, Seen, Status
from extproc.telemetry.logs import Log

PAGE_OBJECTS = 500
WATCH_S = 300
"""A watch is asked for this long, up to twice as long: the API server spreads the reconnects of its clients by it."""
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
    """A stream without a byte for this long is opened anew: bookmarks come once a minute, and a half-open connection
    must not hide changes for longer."""
    healthy_s: float = 5.0
    """A watch that has lived this long was a good one: the back-off starts again from the first."""


class Follower(Protocol[T_contra]):
    """Who is told of the objects."""

    def list_all(self, objects: Sequence[T_contra]) -> None:
        """These are all there are now."""

    def change(self, seen: Sequence[T_contra], gone: Sequence[T_contra]) -> None:
        """`seen` are new or changed, `gone` no longer covered. None is in both, and each stands once."""

    def miss(self) -> None:
        """Nobody serves this kind of object, or this client may not read it."""

    def hear(self, *, is_connected: bool) -> None:
        """The API server has just been heard, or (False) has failed to answer as it should."""


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
    ) -> None:
        self._client = client
        self._path = path
        self._selector = selector
        self._decoder = decoder
        self._follower = follower
        self._pace = pace
        self._clock = clock
        self._rng = rng
        self._backoff_s = pace.first_backoff_s
        self._complaints: dict[str, str] = {}
        """What was last said to be wrong with listing, and with watching."""

    def __repr__(self) -> str:
        return f"<Reflector of {self._path} {self._selector}>"

    async def run(self) -> None:
        """Lists and watches for ever."""
        version = ""
        while True:
            started_s, pause_s = self._clock(), 0.0
            doing = "list"
            try:
                if not version:
                    version = await self._list()
                    self._settle(doing)
                doing = "watch"
                version = await self._watch(version)
            except ApiError as exc:
                version = ""
                pause_s = self._complain(doing, exc)
            except Exception:  # noqa: BLE001 - a defect in reading one answer must not end the server
                version = ""
                self._follower.hear(is_connected=False)
                _log.exception("Kubernetes was read in an unforeseen way", path=self._path)
            if self._clock() - started_s >= self._pace.healthy_s:
                self._backoff_s = self._pace.first_backoff_s
            else:
                pause_s = max(pause_s, self._grow_backoff())
            await asyncio.sleep(pause_s)

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
            "timeoutSeconds": str(self._rng.randint(WATCH_S, 2 * WATCH_S)),
        }
        try:
            async with self._client.watch(self._path, params, silence_s=self._pace.silence_s) as batches:
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
        if self._complaints.pop(doing, ""):
            _log.info(f"Kubernetes lets us {doing} again", path=self._path)
        self._follower.hear(is_connected=True)

    def _complain(self, doing: str, exc: ApiError) -> float:
        """Says what went wrong, the same once. Returns the seconds that the server asks to be left alone."""
        if isinstance(exc, ApiStatusError) and exc.status == GONE:
            return 0.0  # nothing is wrong: this client was away for longer than the server remembers
        self._follower.hear(is_connected=False)
        if isinstance(exc, ApiStatusError) and exc.status in (NOT_FOUND, FORBIDDEN):
            self._follower.miss()
        if str(exc) != self._complaints.get(doing):
            self._complaints[doing] = str(exc)
            _log.warning(f"Kubernetes does not let us {doing}", path=self._path, problem=exc)
        return (exc.retry_after_s or 0.0) if isinstance(exc, ApiStatusError) else 0.0

    def _grow_backoff(self) -> float:
        backoff_s = self._backoff_s
        self._backoff_s = min(2 * backoff_s, self._pace.longest_backoff_s)
        return backoff_s * self._rng.uniform(0.5, 1.5)
