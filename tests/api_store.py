"""The memory of the API server double: objects, one revision counter, and a log of what happened to them, as in etcd.

Source: k8s.io/apiserver pkg/registry/generic/registry/store.go, pkg/storage/etcd3; a kube-apiserver 1.36 asked.
"""

import copy
import json
import uuid
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api_objects import PODS, Manifest, Resource
from tests.api_status import already_exists, conflict, not_found

Key = tuple[str, str]  # namespace, name


class Stored:
    """One version of an object, and its JSON as the real server writes it. Never changed."""

    __slots__ = ("json", "manifest")

    def __init__(self, resource: Resource, manifest: Manifest):
        first = {key: manifest[key] for key in ("kind", "apiVersion") if not resource.is_custom}
        self.manifest = manifest
        self.json = json.dumps(first | manifest, sort_keys=resource.is_custom, separators=(",", ":")).encode()

    def copy(self) -> Manifest:
        """The object, the caller's own."""
        manifest: Manifest = json.loads(self.json)
        return manifest


@dataclass(frozen=True, slots=True)
class Event:
    """What one revision did to one object."""

    revision: int
    resource: Resource
    key: Key
    before: Stored | None
    after: Stored | None

    def removed(self) -> Stored:
        """How a watch shows an object that is gone or matches no more: as it was, with this event's revision."""
        assert self.before is not None
        manifest = self.before.manifest
        metadata = manifest["metadata"] | {"resourceVersion": str(self.revision)}
        return Stored(self.resource, manifest | {"metadata": metadata})


class ObjectStore:
    """Objects by resource and key. `listeners` are called with every event, in order.

    `compacted`: revisions before it can be read no more.
    """

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.listeners: set[Callable[[Event], None]] = set()
        self._objects: dict[Resource, dict[Key, Stored]] = {}
        self._log: list[Event] = []

    def get(self, resource: Resource, key: Key) -> Stored:
        """The object, or `ApiError` 404."""
        stored = self._objects.get(resource, {}).get(key)
        if stored is None:
            raise not_found(resource, key[1])
        return stored

    def snapshot(self, resource: Resource, revision: int) -> list[tuple[Key, Stored]]:
        """All objects as they were at a revision that is not compacted, in the order of lists."""
        objects = self._objects.get(resource, {})
        later = self.events_after(revision)
        if later:
            objects = dict(objects)
            for event in reversed(later):
                if event.resource == resource:
                    objects.pop(event.key, None)
                    if event.before is not None:
                        objects[event.key] = event.before
        return sorted(objects.items(), key=lambda item: "/".join(item[0]))

    def events_after(self, revision: int) -> list[Event]:
        """The events that are younger than a revision that is not compacted, in order."""
        return self._log[bisect_right(self._log, revision, key=lambda event: event.revision) :]

    def compact(self, upto: int | None = None) -> int:
        """Forgets what was before a revision (now); returns it."""
        upto = self.revision if upto is None else upto
        self._log = self.events_after(upto)
        self.compacted = max(self.compacted, upto)
        return self.compacted

    def create(self, resource: Resource, manifest: Manifest, *, uid: str | None = None) -> Manifest:
        """Stores a new object without the fields that are the server's, its status included."""
        manifest = copy.deepcopy(manifest)
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        if key in self._objects.get(resource, {}):
            raise already_exists(resource, key[1])
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"):
            metadata.pop(field, None)
        manifest["metadata"] = {
            "name": key[1],
            "namespace": key[0],
            "uid": uid or str(uuid.uuid4()),
            "resourceVersion": "",
            "generation": 1,
            "creationTimestamp": _timestamp(),
        } | {name: value for name, value in metadata.items() if name not in ("uid", "generation", "creationTimestamp")}
        manifest.pop("status", None)
        if resource == PODS:
            manifest["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
        return self._write(resource, key, manifest)

    def update(self, resource: Resource, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        """Replaces an object, of whose status and of whose rest only the one that the path names is taken.

        409 if it names another version than the stored one. A change that changes nothing is not stored.
        """
        metadata = manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        old = self.get(resource, key).copy()
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise conflict(resource, key[1])
        fresh = copy.deepcopy(manifest)
        if subresource == "status":
            fresh = old | ({"status": fresh["status"]} if "status" in fresh else {})
        else:
            fresh.pop("status", None)
            if "status" in old:
                fresh["status"] = old["status"]
            theirs = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
            kept = {name: old["metadata"][name] for name in theirs if name in old["metadata"]}
            fresh["metadata"] = fresh["metadata"] | kept
            if fresh.get("spec") != old.get("spec"):
                fresh["metadata"]["generation"] += 1
        return old if fresh == old else self._write(resource, key, fresh)

    def patch(self, resource: Resource, key: Key, patch: Manifest, *, subresource: str | None = None) -> Manifest:
        """Applies a JSON merge patch; see `update`."""
        old = self.get(resource, key).copy()
        merged = merge(old, patch)
        merged["metadata"] |= {"namespace": key[0], "name": key[1]}
        return self.update(resource, merged, subresource=subresource)

    def delete(self, resource: Resource, key: Key, *, grace_s: int | None = None) -> Manifest:
        """Removes an object; a pod with grace (its own, if None) only begins to end: `deletionTimestamp`.

        A pod that is removed is first seen with a grace of 0. Returns the last version.
        """
        stored = self.get(resource, key)
        if resource == PODS:
            manifest = stored.copy()
            spec, metadata = manifest["spec"], manifest["metadata"]
            is_ended = manifest["status"].get("phase") in ("Succeeded", "Failed")
            grace_s = spec.get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
            if is_ended or not spec.get("nodeName"):
                grace_s = 0
            if metadata.get("deletionGracePeriodSeconds", grace_s + 1) <= grace_s and grace_s:
                return manifest
            metadata["generation"] += "deletionTimestamp" not in metadata
            metadata |= {"deletionTimestamp": _timestamp(grace_s), "deletionGracePeriodSeconds": grace_s}
            manifest = self._write(resource, key, manifest)
            if grace_s:
                return manifest
        stored = self._objects[resource].pop(key)
        self.revision += 1
        event = Event(self.revision, resource, key, stored, None)
        self._record(event)
        return event.removed().copy()

    def delete_all(self, resource: Resource) -> None:
        """Removes every object at once, as the removal of a CRD does."""
        for key in list(self._objects.get(resource, {})):
            self.delete(resource, key, grace_s=0)

    def _write(self, resource: Resource, key: Key, manifest: Manifest) -> Manifest:
        self.revision += 1
        manifest["metadata"]["resourceVersion"] = str(self.revision)
        stored = Stored(resource, manifest)
        objects = self._objects.setdefault(resource, {})
        before, objects[key] = objects.get(key), stored
        self._record(Event(self.revision, resource, key, before, stored))
        return stored.copy()

    def _record(self, event: Event) -> None:
        self._log.append(event)
        for listener in list(self.listeners):
            listener(event)


def merge(target: Any, patch: Any) -> Any:
    """JSON merge patch. Source: RFC 7396 §2."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _timestamp(ahead_s: int = 0) -> str:
    return f"{datetime.now(UTC) + timedelta(seconds=ahead_s):%Y-%m-%dT%H:%M:%SZ}"
