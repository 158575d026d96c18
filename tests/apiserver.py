"""A kube-apiserver double in this process: HTTP as the real one speaks it, and switches for tests.

What it does is what a real kube-apiserver 1.36 was seen to do; tests/sources/kubernetes/test_apiserver.py runs on both.
Different on purpose: `compact` expires watches too (the real one's watch cache outlives etcd's compaction), objects
have no managed fields and none of the defaults of a pod's spec, namespaces need not exist, manifests are not
validated, `generateName`, finalizers, strategic merge patches, server-side apply, protobuf and `sendInitialEvents`
are not known.
"""

import asyncio
import gzip
import json
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests import api_status as refusals
from tests.api_discovery import discover
from tests.api_objects import PODS, RESOURCES, Manifest, Resource, resource_of
from tests.api_status import ApiError, bad_request, failure
from tests.api_store import ObjectStore
from tests.api_watch import Scope, Watcher, list_page

USER = "system:serviceaccount:default:picker"
VERBS = ("get", "list", "watch")
LAST_BOOKMARK_S = 2.0  # so long before its timeout a watch that allows it gets one

_GZIP_FROM = 128 * 1024
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived. `verb` is RBAC's; `at_s` in loop time; `plural` is empty for what is no resource."""

    method: str
    path: str
    query: Mapping[str, str]
    verb: str
    plural: str
    at_s: float
    authorization: str | None


@dataclass(slots=True)
class _Target:
    """What a path names."""

    resource: Resource
    namespace: str | None
    name: str | None
    subresource: str | None
    verb: str = field(default="")


class ApiServer:
    """Serves pods and, once told to (`serve`), InferencePools, on a free port of loopback.

    `tokens`: the bearer tokens that are taken; anyone may come if there are none. `admin_token` is always taken, and
    nothing is forbidden to it. `status_410`: a watch from a version
    that is compacted is refused with HTTP 410, not with an ERROR event. `bookmark_period_s`: how often watches that
    allow it get one; on demand only, if None. The methods that write are the same operations as over HTTP, done when
    they return, and give the stored object.
    """

    def __init__(
        self,
        *,
        served: Iterable[Resource] = (PODS,),
        tokens: Iterable[str] = (),
        admin_token: str | None = None,
        user: str = USER,
        tls: ssl.SSLContext | None = None,
        bookmark_period_s: float | None = None,
        status_410: bool = False,
    ):
        self.tokens = set(tokens)
        self.admin_token = admin_token
        self.user = user
        self.status_410 = status_410
        self.requests: list[Seen] = []
        self.store = ObjectStore()
        self.port = 0
        self._served = dict.fromkeys(served)
        self._forbidden: set[tuple[Resource, str]] = set()
        self._watchers: set[Watcher] = set()
        self._tls = tls
        self._bookmark_period_s = bookmark_period_s
        self._bookmarking: asyncio.Task[None] | None = None
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listens."""
        server = web.Server(self._handle, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        if self._bookmark_period_s is not None:
            self._bookmarking = asyncio.create_task(self._send_bookmarks(self._bookmark_period_s))

    async def stop(self) -> None:
        """Ends the watches, then the connections."""
        for watcher in list(self._watchers):
            watcher.end()
        if self._bookmarking is not None:
            self._bookmarking.cancel()
            with suppress(asyncio.CancelledError):
                await self._bookmarking
        if self._runner is not None:
            await self._runner.cleanup()

    # What happens to objects.

    def create(self, manifest: Manifest, resource: Resource | None = None) -> Manifest:
        """Stores a new object (a `uid` that it names is kept), then its status, then begins its end if it is ending."""
        resource = resource or resource_of(manifest)
        metadata = manifest["metadata"]
        stored = self.store.create(resource, manifest, uid=metadata.get("uid"))
        key = (metadata["namespace"], metadata["name"])
        if "status" in manifest:
            stored = self.store.patch(resource, key, {"status": manifest["status"]}, subresource="status")
        if "deletionTimestamp" in metadata:
            stored = self.store.delete(resource, key)
        return stored

    def update(self, manifest: Manifest) -> Manifest:
        """Replaces all but the status; `ApiError` 409 if it names an old version."""
        return self.store.update(resource_of(manifest), manifest)

    def patch(self, resource: Resource, name: str, patch: Manifest, *, namespace: str = "default") -> Manifest:
        """Merges into all but the status."""
        return self.store.patch(resource, (namespace, name), patch)

    def patch_status(self, resource: Resource, name: str, status: Manifest, *, namespace: str = "default") -> Manifest:
        """Merges into the status."""
        return self.store.patch(resource, (namespace, name), {"status": status}, subresource="status")

    def delete(
        self, resource: Resource, name: str, *, grace_s: int | None = None, namespace: str = "default"
    ) -> Manifest:
        """Deletes; a pod with grace (its own, if None) is only marked until `finish_deletion`."""
        return self.store.delete(resource, (namespace, name), grace_s=grace_s)

    def finish_deletion(self, resource: Resource, name: str, *, namespace: str = "default") -> Manifest:
        """Removes what is marked, as the kubelet does when the containers have ended."""
        return self.store.delete(resource, (namespace, name), grace_s=0)

    # Switches.

    def serve(self, resource: Resource) -> None:
        """Its CRD is installed."""
        self._served[resource] = None

    def unserve(self, resource: Resource) -> None:
        """Its CRD is removed: every object is deleted, every watch ends, the path is unknown."""
        self.store.delete_all(resource)
        self._served.pop(resource, None)
        for watcher in list(self._watchers):
            if watcher.scope.resource == resource:
                watcher.end()

    def forbid(self, resource: Resource, *verbs: str) -> None:
        """Those verbs (get, list and watch, if none is named) are answered 403, whether it is served or not."""
        self._forbidden |= {(resource, verb) for verb in verbs or VERBS}

    def allow(self, resource: Resource, *verbs: str) -> None:
        """Takes `forbid` back."""
        self._forbidden -= {(resource, verb) for verb in verbs or VERBS}

    def rotate_token(self, new: str) -> None:
        """From now on only this token is taken; watches that are open stay open."""
        self.tokens = {new}

    def compact(self, upto: int | None = None) -> int:
        """Forgets what was before a revision (now): older watches and pages get 410. Returns it."""
        return self.store.compact(upto)

    def bookmark(self) -> None:
        """Sends a bookmark to every watch that allows it."""
        for watcher in self._watchers:
            watcher.bookmark()

    def count(self, verb: str, resource: Resource | None = None) -> int:
        """How many requests of a verb arrived."""
        plural = resource.plural if resource else None
        return sum(seen.verb == verb and plural in (None, seen.plural) for seen in self.requests)

    def open_watches(self, resource: Resource) -> int:
        """How many watches of a resource are open."""
        return sum(watcher.scope.resource == resource for watcher in self._watchers)

    async def _send_bookmarks(self, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            self.bookmark()

    # HTTP.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = self._target(request)
        authorization = request.headers.get("Authorization")
        verb, plural = (target.verb, target.resource.plural) if target else (request.method.lower(), "")
        now = asyncio.get_running_loop().time()
        self.requests.append(Seen(request.method, request.path, dict(request.query), verb, plural, now, authorization))
        scheme, _, token = (authorization or "").partition(" ")
        token = token if scheme.lower() == "bearer" else ""
        is_admin = self.admin_token is not None and token == self.admin_token
        try:
            if self.tokens and not is_admin and token not in self.tokens:
                raise failure(401, "Unauthorized")
            if target is None:
                return _json_answer(request, json.dumps(discover(request.path, self._served)).encode())
            if (target.resource, verb) in self._forbidden and not is_admin:
                raise refusals.forbidden(
                    target.resource, target.name, namespace=target.namespace, user=self.user, verb=verb
                )
            return await self._answer(request, target)
        except ApiError as error:
            if isinstance(error.body, str):
                return web.Response(status=error.code, text=error.body, headers={"X-Content-Type-Options": "nosniff"})
            return web.json_response(error.body, status=error.code, headers={"Cache-Control": "no-cache, private"})

    def _target(self, request: web.BaseRequest) -> _Target | None:
        """The resource that a path names, served or not: permissions are asked first, as by the real one."""
        for resource in dict.fromkeys((*RESOURCES, *self._served)):
            if not request.path.startswith(resource.root + "/"):
                continue
            parts = request.path.removeprefix(resource.root + "/").split("/")
            namespace = None
            if parts[0] == "namespaces" and len(parts) > 2:
                namespace = parts[1]
                parts = parts[2:]
            if parts[0] != resource.plural or len(parts) > 3:
                continue
            name, subresource = (*parts[1:], None, None)[:2]
            return _Target(resource, namespace, name, subresource, _verb(request, name))
        return None

    async def _answer(self, request: web.BaseRequest, target: _Target) -> web.StreamResponse:
        resource, namespace, name = target.resource, target.namespace, target.name
        if resource not in self._served:
            raise refusals.not_served() if resource.group else refusals.unknown_path()
        match target.verb:
            case "watch":
                return await self._watch(request, Scope.of(resource, namespace, request.query))
            case "list":
                scope = Scope.of(resource, namespace, request.query)
                return _json_answer(request, list_page(self.store, scope, request.query))
        if namespace is None:
            raise failure(405, "the server does not allow this method on the requested resource", details={})
        if target.verb == "create":
            manifest = await _body(request)
            manifest["metadata"].setdefault("namespace", namespace)
            return web.json_response(self.store.create(resource, manifest), status=201)
        if name is None:
            return self._delete_collection(request, Scope.of(resource, namespace, request.query))
        return web.json_response(await self._act(request, target, (namespace, name)))

    async def _act(self, request: web.BaseRequest, target: _Target, key: tuple[str, str]) -> Manifest:
        resource = target.resource
        match target.verb:
            case "get":
                return self.store.get(resource, key).manifest
            case "update":
                return self.store.update(resource, await _body(request), subresource=target.subresource)
            case "patch":
                if request.content_type != "application/merge-patch+json":
                    raise failure(415, "415: Unsupported Media Type", details={})
                return self.store.patch(resource, key, await _body(request), subresource=target.subresource)
        asked = request.query.get("gracePeriodSeconds", (await _body(request)).get("gracePeriodSeconds"))
        last = self.store.delete(resource, key, grace_s=None if asked is None else int(asked))
        if not resource.is_custom:
            return last
        details = {"name": key[1], "group": resource.group, "kind": resource.plural, "uid": last["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _delete_collection(self, request: web.BaseRequest, scope: Scope) -> web.Response:
        asked = request.query.get("gracePeriodSeconds")
        body = list_page(self.store, scope, {})
        for key, stored in self.store.snapshot(scope.resource, self.store.revision):
            if scope.holds(stored):
                self.store.delete(scope.resource, key, grace_s=None if asked is None else int(asked))
        return _json_answer(request, body)

    async def _watch(self, request: web.BaseRequest, scope: Scope) -> web.StreamResponse:
        watcher = Watcher(self.store, scope, request.query)
        if watcher.is_too_old and self.status_410:
            raise ApiError(410, refusals.expired(int(request.query["resourceVersion"]), self.store.compacted))
        self._watchers.add(watcher)
        response = web.StreamResponse(headers={"Cache-Control": "no-cache, private"})
        response.content_type = "application/json"
        response.enable_chunked_encoding()
        timeout_s = float(request.query.get("timeoutSeconds") or 0)
        loop = asyncio.get_running_loop()
        last_call = loop.call_later(max(timeout_s - LAST_BOOKMARK_S, 0), watcher.bookmark) if timeout_s else None
        try:
            await response.prepare(request)
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s or None):
                    while (lines := await watcher.next_lines()) is not None:
                        await response.write(lines)
            await response.write_eof()
        except ConnectionError:  # the client went away
            pass
        finally:
            if last_call is not None:
                last_call.cancel()
            watcher.end()
            self._watchers.discard(watcher)
        return response


def _verb(request: web.BaseRequest, name: str | None) -> str:
    if request.method == "DELETE":
        return "delete" if name else "deletecollection"
    if request.method in _WRITES:
        return _WRITES[request.method]
    if name:
        return "get"
    return "watch" if request.query.get("watch") in ("1", "true") else "list"


async def _body(request: web.BaseRequest) -> Manifest:
    raw = await request.read()
    try:
        body: Any = json.loads(raw or b"{}")
    except ValueError as exc:
        raise bad_request(f"the object provided is unrecognized: {exc}") from exc
    assert isinstance(body, dict)
    return body


def _json_answer(request: web.BaseRequest, body: bytes) -> web.Response:
    """A JSON body, compressed as the real server does: from 128 KiB on, if the client takes it."""
    headers = {"Cache-Control": "no-cache, private", "Content-Type": "application/json"}
    if len(body) > _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        body = gzip.compress(body, 1)
    return web.Response(body=body, headers=headers)
