"""Lists and watches of the API server double: pages of a pinned revision, and events as a watch shows them.

Source: k8s.io/apiserver pkg/storage/cacher/cache_watcher.go, pkg/storage/continue.go; a kube-apiserver 1.36 asked.
"""

import asyncio
import base64
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from tests.api_objects import Manifest, Resource
from tests.api_selectors import Matches, parse_fields, parse_labels
from tests.api_status import CONTINUE_EXPIRED, ApiError, bad_request, expired, failure
from tests.api_store import Event, ObjectStore, Stored

INITIAL_END = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects a request is about."""

    resource: Resource
    namespace: str | None
    matches: Matches
    has_selector: bool

    @classmethod
    def of(cls, resource: Resource, namespace: str | None, query: Mapping[str, str]) -> "Scope":
        """What path and selectors say; `ApiError` 400 if they make no sense."""
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        by_label, by_field = parse_labels(labels), parse_fields(fields, resource)
        return cls(resource, namespace, lambda item: by_label(item) and by_field(item), bool(labels or fields))

    def holds(self, stored: Stored | None) -> bool:
        """Whether an object is one of them."""
        if stored is None or (self.namespace and stored.manifest["metadata"]["namespace"] != self.namespace):
            return False
        return self.matches(stored.manifest)


def list_page(store: ObjectStore, scope: Scope, query: Mapping[str, str]) -> bytes:
    """The body of a list, or of one page of it."""
    token, limit = query.get("continue", ""), _number(query, "limit")
    wanted = query.get("resourceVersion", "")
    revision, start = store.revision, ""
    if token:
        if wanted not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = _decode(token)
        if revision < 0:
            revision = store.revision
        elif revision < store.compacted:
            raise failure(410, CONTINUE_EXPIRED, metadata={"continue": _encode(-1, start)})
    elif wanted == "0":
        limit = 0  # any version will do: from the cache, which knows no pages
    elif wanted:
        at_least = _revision(wanted)
        if at_least > store.revision:
            raise _too_large(at_least, store.revision)
        if query.get("resourceVersionMatch") == "Exact" or (limit and "resourceVersionMatch" not in query):
            revision = at_least
            if revision < store.compacted:
                raise failure(410, "The resourceVersion for the provided list is too old.")
    page: list[Stored] = []
    last, remaining = "", 0
    for key, stored in store.snapshot(scope.resource, revision):
        name = "/" + (key[1] if scope.namespace else "/".join(key))
        if name < start or not scope.holds(stored):
            continue
        if limit and len(page) == limit:
            remaining += 1
        else:
            page.append(stored)
            last = name
    metadata: Manifest = {"resourceVersion": str(revision)}
    if remaining:
        metadata["continue"] = _encode(revision, last + "\0")
        if not scope.has_selector:
            metadata["remainingItemCount"] = remaining
    return _list_body(scope.resource, metadata, page)


def _list_body(resource: Resource, metadata: Manifest, page: list[Stored]) -> bytes:
    version, kind = resource.api_version, f"{resource.kind}List"
    if resource.is_custom:
        head = f'{{"apiVersion":"{version}","items":['
        metadata = {"continue": "", **metadata}
        tail = f'],"kind":"{kind}","metadata":{_compact(metadata)}}}\n'
        items = [stored.json for stored in page]
    else:  # the items of a typed list have no type of their own
        head, tail = f'{{"kind":"{kind}","apiVersion":"{version}","metadata":{_compact(metadata)},"items":[', "]}\n"
        own_type = len(f'"kind":"{resource.kind}","apiVersion":"{version}",') + 1
        items = [b"{" + stored.json[own_type:] for stored in page]
    return head.encode() + b",".join(items) + tail.encode()


class Watcher:
    """One watch: the lines that wait to be sent. It ends after `end` (or an ERROR) when they are sent.

    `is_too_old`: it asked for a version that is compacted.
    """

    def __init__(self, store: ObjectStore, scope: Scope, query: Mapping[str, str]):
        self.scope = scope
        self.takes_bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self.has_ended = False
        self._lines: deque[bytes] = deque()
        self._wakes = asyncio.Event()
        self._store = store
        self.is_too_old = False
        try:
            self._from = int(query.get("resourceVersion") or 0)
        except ValueError:
            raise failure(500, _invalid(query["resourceVersion"])) from None
        if not self._from:
            self._from = store.revision
            self._send_state()
        elif self._from < store.compacted:
            self.is_too_old = True
            self.send("ERROR", _compact(expired(self._from, store.compacted)).encode())
            self.end()
        else:
            for event in store.events_after(self._from):
                self.show(event)
        store.listeners.add(self.show)

    def _send_state(self) -> None:
        for _, stored in self._store.snapshot(self.scope.resource, self._store.revision):
            if self.scope.holds(stored):
                self.send("ADDED", stored.json)
        self._send_bookmark({"annotations": INITIAL_END})

    def show(self, event: Event) -> None:
        """Takes an event as this watch sees it: what does not match is not there."""
        if event.resource != self.scope.resource or event.revision <= self._from:
            return
        was, is_ = self.scope.holds(event.before), self.scope.holds(event.after)
        if is_ and event.after is not None:
            self.send("MODIFIED" if was else "ADDED", event.after.json)
        elif was:
            self.send("DELETED", event.removed().json)

    def bookmark(self) -> None:
        """Tells the revision that all was told up to, if the watch asked to be told and began before it."""
        if self._store.revision > self._from:
            self._send_bookmark({})

    def _send_bookmark(self, told: Manifest) -> None:
        if not self.takes_bookmarks:
            return
        resource = self.scope.resource
        metadata = {"resourceVersion": str(self._store.revision), **told}
        mark: Manifest = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if not resource.is_custom:  # Go writes out the empty structs of a typed object
            mark |= {"spec": {"containers": None}, "status": {}}
        self.send("BOOKMARK", _compact(mark, sort_keys=resource.is_custom).encode())

    def send(self, kind: str, item: bytes) -> None:
        """Queues an event."""
        if not self.has_ended:
            self._lines.append(b'{"type":"%s","object":%s}\n' % (kind.encode(), item))
            self._wakes.set()

    def end(self) -> None:
        """Takes no more events."""
        self.has_ended = True
        self._store.listeners.discard(self.show)
        self._wakes.set()

    async def next_lines(self) -> bytes | None:
        """All lines that wait, as soon as there are some; None at the end."""
        while not self._lines:
            if self.has_ended:
                return None
            self._wakes.clear()
            await self._wakes.wait()
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines


def _compact(value: Manifest, *, sort_keys: bool = False) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=sort_keys)


def _encode(revision: int, start: str) -> str:
    token = _compact({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _decode(token: str) -> tuple[int, str]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(parts["rv"]), str(parts["start"])
    except (ValueError, KeyError, TypeError) as exc:
        raise bad_request(f"invalid continue token: continue key is not valid: {exc}") from exc


def _number(query: Mapping[str, str], name: str) -> int:
    try:
        return int(query.get(name) or 0)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{query[name]}": invalid syntax') from None


def _revision(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise bad_request(f"invalid resource version: {_invalid(text)}") from None


def _invalid(text: str) -> str:
    return f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'


def _too_large(wanted: int, current: int) -> ApiError:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return failure(504, f"Timeout: Too large resource version: {wanted}, current: {current}", details=details)
