"""One API server behind a `Gate`, with one interface for the double and for a real one, so that a test runs on both."""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from tests.api_gate import Gate
from tests.api_objects import (
    LLMD_OBJECTIVES,
    LLMD_REWRITES,
    OBJECTIVES,
    PODS,
    POOLS_V1,
    POOLS_V1ALPHA2,
    RESOURCES,
    REWRITES,
    Manifest,
    Resource,
    resource_of,
)
from tests.api_status import ApiError
from tests.apiserver import VERBS, ApiServer
from tests.real_apiserver import ADMIN_TOKEN, PICKER_TOKEN, PICKER_USER, RealApiServer, assets

CRDS = {
    resource: Path(__file__).parent / "crds" / f"{name}.yaml"
    for resource, name in {
        POOLS_V1: "inferencepools-v1",
        POOLS_V1ALPHA2: "inferencepools-v1alpha2",
        REWRITES: "inferencemodelrewrites",
        OBJECTIVES: "inferenceobjectives",
        LLMD_REWRITES: "inferencemodelrewrites-llmd",
        LLMD_OBJECTIVES: "inferenceobjectives-llmd",
    }.items()
}
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE_PATCH = "application/merge-patch+json"
WAIT_S = 20.0

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_namespaces = itertools.count()


def backends() -> Sequence[str]:
    """What tests run on: "real" only where `KUBEBUILDER_ASSETS` says where it is."""
    return ("double", "real") if assets() else ("double",)


class WatchStream:
    """An open watch, read event by event. `code` is the status; `refusal` the body, if it is not 200."""

    def __init__(self, response: aiohttp.ClientResponse, refusal: str):
        self.code = response.status
        self.refusal = refusal
        self._response = response

    async def next_event(self) -> Manifest:
        """The next event; `EOFError` when the body has ended as it should, `aiohttp.ClientError` when not."""
        line = await self.next_line()
        event: Manifest = json.loads(line)
        return event

    async def next_line(self) -> bytes:
        """The next line as it came; one without a line feed is what an ending body left over."""
        async with asyncio.timeout(WAIT_S):
            line = await self._response.content.readline()
        if not line:
            raise EOFError
        return line

    async def rest(self) -> list[Manifest]:
        """All events until the body ends as it should."""
        events = []
        with suppress(EOFError):
            while True:
                events.append(await self.next_event())
        return events


class Cluster:
    """An API server in which a test has a namespace of its own and starts with no CRD installed.

    Its methods go to the server as an administrator, past the gate; what is under test goes through the gate with
    `token`, which may get, list and watch pods and the custom resources in the namespace until `forbid`. `double` is
    None for a real server.
    """

    def __init__(self, server: ApiServer | RealApiServer, *, certificate: Path | None = None):
        self.double = server if isinstance(server, ApiServer) else None
        self.real = server if isinstance(server, RealApiServer) else None
        self.namespace = f"test-{next(_namespaces)}"
        self.token = PICKER_TOKEN
        self.url = server.url
        self._certificate = self.real.certificate if self.real else certificate
        tls = ssl.create_default_context(cafile=str(self._certificate)) if self._certificate else None
        self.gate = Gate(self.url, tls=tls)
        self._tls: ssl.SSLContext | bool = tls or True
        self._allowed = {resource: set(VERBS) for resource in RESOURCES}
        self._installed: set[Resource] = set()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._http = aiohttp.ClientSession(connector=connector, read_bufsize=2**26)
        await self.gate.start()
        if self.real:
            await self._set_up_namespace()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.real:
                await self.request("DELETE", PODS.path(self.namespace), query={"gracePeriodSeconds": 0})
                for resource in list(self._installed):
                    await self.remove_crd(resource)
        finally:
            await self.gate.stop()
            if self._http is not None:
                await self._http.close()

    # Objects.

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str | int] | None = None,
    ) -> Manifest:
        """What the server answers an administrator; `ApiError` for any status but 2xx."""
        assert self._http is not None
        raw = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": content_type}
        async with self._http.request(method, self.url + path, params=query, data=raw, headers=headers) as answered:
            return await _body(answered)

    async def ask(self, path: str, *, token: str | None = None, **query: str | int) -> Manifest:
        """What a GET through the gate gives, with the token of what is under test, or another."""
        assert self._http is not None
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self._http.get(self.gate.url + path, params=query, headers=headers) as answered:
            return await _body(answered)

    async def get(self, resource: Resource, name: str) -> Manifest:
        """One object."""
        return await self.request("GET", resource.path(self.namespace, name))

    async def list(self, resource: Resource, **query: str | int) -> Manifest:
        """A list, or a page of one."""
        return await self.request("GET", resource.path(self.namespace), query=query)

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates it in this cluster's namespace, then writes its status, then begins its end if it is ending."""
        resource = resource_of(manifest)
        metadata = manifest["metadata"] | {"namespace": self.namespace}
        is_ending = metadata.pop("deletionTimestamp", None) is not None
        metadata.pop("deletionGracePeriodSeconds", None)
        sent = {key: value for key, value in manifest.items() if key != "status"} | {"metadata": metadata}
        stored = await self.request("POST", resource.path(self.namespace), sent)
        if "status" in manifest:
            stored = await self.patch_status(resource, metadata["name"], manifest["status"])
        return await self.delete(resource, metadata["name"]) if is_ending else stored

    async def patch(self, resource: Resource, name: str, patch: Mapping[str, Any]) -> Manifest:
        """Merges into all but the status."""
        return await self.request("PATCH", resource.path(self.namespace, name), patch, content_type=MERGE_PATCH)

    async def patch_status(self, resource: Resource, name: str, status: Mapping[str, Any]) -> Manifest:
        """Merges into the status."""
        path = resource.path(self.namespace, name) + "/status"
        return await self.request("PATCH", path, {"status": status}, content_type=MERGE_PATCH)

    async def delete(self, resource: Resource, name: str, *, grace_s: int | None = None) -> Manifest:
        """Deletes; a pod with grace (its own, if None) stays, ending, until `finish_deletion`."""
        query = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        return await self.request("DELETE", resource.path(self.namespace, name), query=query)

    async def finish_deletion(self, resource: Resource, name: str) -> Manifest:
        """Removes it without grace, as the kubelet does in the end."""
        return await self.delete(resource, name, grace_s=0)

    @asynccontextmanager
    async def watch(self, resource: Resource, **query: str | int) -> AsyncIterator[WatchStream]:
        """Opens a watch on this cluster's namespace."""
        async with self._open_watch(self.url, ADMIN_TOKEN, resource, query) as stream:
            yield stream

    @asynccontextmanager
    async def watch_via_gate(self, resource: Resource, **query: str | int) -> AsyncIterator[WatchStream]:
        """Opens a watch as what is under test does."""
        async with self._open_watch(self.gate.url, self.token, resource, query) as stream:
            yield stream

    @asynccontextmanager
    async def _open_watch(
        self, base: str, token: str, resource: Resource, query: Mapping[str, str | int]
    ) -> AsyncIterator[WatchStream]:
        assert self._http is not None
        headers = {"Authorization": f"Bearer {token}"}
        url = base + resource.path(self.namespace)
        async with self._http.get(url, params={"watch": "true", **query}, headers=headers) as response:
            yield WatchStream(response, "" if response.status == 200 else await response.text())

    # What the server serves, and to whom.

    async def install_crd(self, resource: Resource) -> None:
        """Returns when the resource is served."""
        if self.double:
            self.double.serve(resource)
        else:
            await self.request("POST", CRD_PATH, yaml.safe_load(CRDS[resource].read_text()))
            self._installed.add(resource)
            await _poll(lambda: self._is_served(resource))

    async def remove_crd(self, resource: Resource) -> None:
        """Returns when the resource, whose objects go with it, is served no more."""
        if self.double:
            self.double.unserve(resource)
        else:
            await self.request("DELETE", f"{CRD_PATH}/{resource.qualified}")
            self._installed.discard(resource)
            await _poll(lambda: self._is_served(resource), is_=False)
            await _poll(lambda: self._exists(f"{CRD_PATH}/{resource.qualified}"), is_=False)

    async def forbid(self, resource: Resource, *verbs: str) -> None:
        """Takes those verbs (get, list and watch, if none is named) from what is under test."""
        await self._permit(resource, self._allowed[resource] - set(verbs or VERBS))

    async def allow(self, resource: Resource, *verbs: str) -> None:
        """Gives them back."""
        await self._permit(resource, self._allowed[resource] | set(verbs or VERBS))

    async def compact(self) -> None:
        """Pages that were begun can't be continued; in the double, watches can't be resumed either."""
        if self.double:
            self.double.compact()
            return
        assert self.real is not None
        assert self._http is not None
        kv = f"{self.real.etcd_url}/v3/kv"
        async with self._http.post(f"{kv}/range", json={"key": "AA=="}) as answered:
            revision = (await _body(answered))["header"]["revision"]
        async with self._http.post(f"{kv}/compaction", json={"revision": revision}) as answered:
            await _body(answered)

    def write_kubeconfig(self, path: Path, *, via_gate: bool = True, token_file: Path | None = None) -> None:
        """Writes a kubeconfig with `token`, or with a file that holds one."""
        server: Manifest = {"server": self.gate.url if via_gate else self.url}
        if self._certificate and not via_gate:
            server["certificate-authority"] = str(self._certificate)
        user = {"tokenFile": str(token_file)} if token_file else {"token": self.token}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "picker", "user": user}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "picker", "namespace": self.namespace}}
            ],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(config))

    async def _set_up_namespace(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self.request("POST", "/api/v1/namespaces", namespace)
        await self.request("POST", f"{_RBAC}/namespaces/{self.namespace}/roles", self._role())
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "picker"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "picker"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": PICKER_USER}],
        }
        await self.request("POST", f"{_RBAC}/namespaces/{self.namespace}/rolebindings", binding)
        await _poll(lambda: self._may(PODS, "list"))

    def _role(self) -> Manifest:
        rules = [
            {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": sorted(verbs)}
            for resource, verbs in self._allowed.items()
            if verbs
        ]
        return {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "picker"},
            "rules": rules,
        }

    async def _permit(self, resource: Resource, verbs: set[str]) -> None:
        self._allowed[resource] = verbs
        if self.double:
            self.double.allow(resource)
            if denied := set(VERBS) - verbs:
                self.double.forbid(resource, *denied)
            return
        await self.request("PUT", f"{_RBAC}/namespaces/{self.namespace}/roles/picker", self._role())
        for verb in VERBS:
            await _poll(partial(self._may, resource, verb), is_=verb in verbs)

    async def _may(self, resource: Resource, verb: str) -> bool:
        asked = {"namespace": self.namespace, "verb": verb, "group": resource.group, "resource": resource.plural}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": PICKER_USER, "resourceAttributes": asked},
        }
        answer = await self.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    async def _is_served(self, resource: Resource) -> bool | None:
        return await self._exists(resource.path(self.namespace))

    async def _exists(self, path: str) -> bool | None:
        try:
            await self.request("GET", path)
        except ApiError as error:
            # a real server whose CRD is new says 429 until it has read what there is
            if error.code not in (404, 429):
                raise
            return None if error.code == 429 else False
        return True


async def _body(answered: aiohttp.ClientResponse) -> Manifest:
    text = await answered.text()
    is_json = answered.content_type == "application/json"
    if answered.status >= 300:
        raise ApiError(answered.status, json.loads(text) if is_json else text)
    body: Manifest = json.loads(text)
    return body


async def _poll(condition: Callable[[], Any], *, is_: bool = True) -> None:
    async with asyncio.timeout(WAIT_S):
        while await condition() is not is_:
            await asyncio.sleep(0.02)  # a real server's own caches have no event to wait for


@asynccontextmanager
async def double_cluster(*, certificate: Path | None = None, **options: Any) -> AsyncIterator[Cluster]:
    """A double of its own, with the tokens that the real one takes; `options` as of `ApiServer`.

    `certificate`: whom to trust, if it has `tls`.
    """
    options = {"tokens": (PICKER_TOKEN,), "admin_token": ADMIN_TOKEN, "user": PICKER_USER} | options
    async with ApiServer(**options) as server, Cluster(server, certificate=certificate) as cluster:
        yield cluster
