"""What Kubernetes says of the pool, its pods and the picker, and what it lets the picker read.

Every question is one that the picker asks too, with the same credentials, so that the doctor needs no right more. What
it asks beside (its own pod, the picker's Service, all pods of the namespace) may be refused, and is then not known.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from extproc.cli.doctor.objects import FullPod, FullPool, Service
from extproc.errors import ApiError, ApiStatusError
from extproc.sources.kubernetes.access import Access
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.names import NAME_GROUPS
from extproc.sources.kubernetes.objects import Decoder, KubernetesObject
from extproc.sources.kubernetes.pools import GROUPS, Group, Selection, selection_of

QUESTION_S = 2.5
MOST_PODS = 500
"""So many are read at most."""
CORE = Group("", "v1")
KINDS = ("inferencemodelrewrites", "inferenceobjectives")

T = TypeVar("T", bound=KubernetesObject)


class Right(NamedTuple):
    """Whether the picker may do one thing."""

    verb: str
    resource: str
    group: str
    is_optional: bool
    answer: str
    """`yes`, `no` (403), `absent` (404: nobody serves that kind of object), or what went wrong."""

    @property
    def is_broken(self) -> bool:
        """Something else is wrong than a right."""
        return self.answer not in ("yes", "no", "absent")


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """What was read. None is what could not be, for whatever reason stands in `rights`."""

    origin: str
    """Where it is stated how Kubernetes is reached."""
    is_pickers: bool
    """These credentials are those of the picker."""
    namespace: str
    rights: Sequence[Right] = ()
    pools: Mapping[str, FullPool | None] | None = None
    """The wanted pool in each API group that could be read."""
    other_pools: Sequence[str] = ()
    """Names of the others in the namespace."""
    selection: Selection | None = None
    pods: Sequence[FullPod] | None = None
    """Those selected."""
    other_pods: Sequence[FullPod] | None = None
    """Pods of the namespace, read where none is selected."""
    own_pod: FullPod | None = None
    """That which the doctor runs in."""
    service: Service | None = None
    """The one that the pool names as its picker."""
    service_answer: str = ""
    """Of that reading: `yes`, `no`, `absent`, or what went wrong; empty where it was not tried."""


class ClusterReader:
    """Reads one namespace. Questions fail one by one, and then with an answer instead of what was asked for."""

    def __init__(self, access: Access, namespace: str, *, is_pickers: bool) -> None:
        self._access = access
        self._namespace = namespace
        self._is_pickers = is_pickers
        # One for all: to read certificates takes 50 ms each time.
        self._client = ApiClient(access)

    async def read(
        self, *, pool: str, group: str | None, selection: Selection | None, own_pod: str | None
    ) -> ClusterFacts:
        """Everything there is to know. Without `selection` it is the pool's, in `group` or the first that has it."""
        try:
            return await self._read(pool, group, selection, own_pod)
        finally:
            await self._client.close()

    async def _read(
        self, pool: str, group: str | None, selection: Selection | None, own_pod: str | None
    ) -> ClusterFacts:
        rights: list[Right] = []
        pools: dict[str, FullPool | None] | None = None
        names: list[str] = []
        if selection is None:
            pools, names = {}, []
            for each in GROUPS:
                if any(right.is_broken for right in rights):  # another question would be answered like the last
                    break
                is_read, wanted, others = await self._find_pool(pool, each, rights)
                if is_read:
                    pools[each.name] = wanted
                names += others
            counts = [wanted for name, wanted in pools.items() if wanted is not None and group in (None, name)]
            selection = selection_of(counts[0])[0] if counts else None
        reference = next((each.picker for each in (pools or {}).values() if each is not None), None)
        selector = {"labelSelector": selection.selector} if selection is not None else {}
        pods = None if any(right.is_broken for right in rights) else await self._list_pods(selector, rights)
        own = service = None
        service_answer = ""
        # Beyond that only where something was read: a client that is refused closes its connections to all.
        if any(right.answer == "yes" for right in rights) and not any(right.is_broken for right in rights):
            tries = [self._try(each, kind, rights) for each in NAME_GROUPS for kind in KINDS if pools is not None]
            own, (service, service_answer), _ = await asyncio.gather(
                self._find_pod(own_pod),
                self._find_service(reference.name if reference is not None else ""),
                asyncio.gather(*tries),
            )
        if selection is None:
            pods = None
        other_pods = await self._list(CORE, "pods", FullPod, {}) if selection is not None and pods == [] else None
        return ClusterFacts(
            origin=self._access.origin,
            is_pickers=self._is_pickers,
            namespace=self._namespace,
            rights=sorted(set(rights)),
            pools=pools,
            other_pools=sorted(set(names)),
            selection=selection,
            pods=pods,
            other_pods=other_pods if isinstance(other_pods, list) else None,
            own_pod=own,
            service=service,
            service_answer=service_answer,
        )

    async def _find_pool(
        self, name: str, group: Group, rights: list[Right]
    ) -> tuple[bool, FullPool | None, Sequence[str]]:
        """Whether the group could be read, the pool, and the names of others."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        listed = await self._list(group, "inferencepools", FullPool, selector)
        self._note(rights, "list", "inferencepools", group, listed, is_optional=False)
        if isinstance(listed, str):
            return listed == "absent", None, ()
        await self._note_watch(rights, "inferencepools", group, selector, is_optional=False)
        others = [] if listed else await self._list(group, "inferencepools", FullPool, {})
        names = [each.metadata.name for each in others] if isinstance(others, list) else []
        return True, (listed[0] if listed else None), names

    async def _list_pods(self, selector: Mapping[str, str], rights: list[Right]) -> list[FullPod] | None:
        listed = await self._list(CORE, "pods", FullPod, selector)
        self._note(rights, "list", "pods", CORE, listed, is_optional=False)
        if isinstance(listed, str) and listed != "no":
            return None
        await self._note_watch(rights, "pods", CORE, selector, is_optional=False)
        return listed if isinstance(listed, list) else None

    async def _try(self, group: Group, resource: str, rights: list[Right]) -> None:
        listed = await self._list(group, resource, KubernetesObject, {})
        self._note(rights, "list", resource, group, listed, is_optional=True)
        if isinstance(listed, list):
            await self._note_watch(rights, resource, group, {}, is_optional=True)

    async def _find_pod(self, name: str | None) -> FullPod | None:
        if not name:
            return None
        with suppress(ApiError, TimeoutError):
            return Decoder(FullPod).read(await self._get(f"{self._path(CORE, 'pods')}/{_quote(name)}", {}))
        return None

    async def _find_service(self, name: str) -> tuple[Service | None, str]:
        if not name:
            return None, ""
        try:
            content = await self._get(f"{self._path(CORE, 'services')}/{_quote(name)}", {})
            return Decoder(Service).read(content), "yes"
        except (ApiError, TimeoutError) as exc:
            return None, _answer_of(exc)

    async def _list(self, group: Group, resource: str, kind: type[T], selector: Mapping[str, str]) -> list[T] | str:
        """The objects, at most `MOST_PODS`; or how the question was answered."""
        try:
            content = await self._get(self._path(group, resource), {**selector, "limit": str(MOST_PODS)})
            return Decoder(kind).read_page(content).objects
        except (ApiError, TimeoutError) as exc:
            return _answer_of(exc)

    async def _note_watch(
        self, rights: list[Right], resource: str, group: Group, selector: Mapping[str, str], *, is_optional: bool
    ) -> None:
        """A watch that is left as soon as it is granted."""
        answer = "yes"
        try:
            async with asyncio.timeout(QUESTION_S):
                params = {**selector, "timeoutSeconds": "1"}
                async with self._client.watch(self._path(group, resource), params, silence_s=QUESTION_S):
                    pass
        except (ApiError, TimeoutError) as exc:
            answer = _answer_of(exc)
        rights.append(Right("watch", resource, group.name, is_optional, answer))

    async def _get(self, path: str, params: Mapping[str, str]) -> bytes:
        """The body of a good answer. Errors: ApiError, TimeoutError."""
        async with asyncio.timeout(QUESTION_S):
            return await self._client.get(path, params)

    def _note(
        self, rights: list[Right], verb: str, resource: str, group: Group, said: object, *, is_optional: bool
    ) -> None:
        rights.append(Right(verb, resource, group.name, is_optional, said if isinstance(said, str) else "yes"))

    def _path(self, group: Group, resource: str) -> str:
        root = f"/apis/{group.name}/{group.version}" if group.name else f"/api/{group.version}"
        return f"{root}/namespaces/{_quote(self._namespace)}/{resource}"


def _quote(text: str) -> str:
    return quote(text, safe="")


def _answer_of(exc: Exception) -> str:
    match exc:
        case ApiStatusError(status=403):
            return "no"
        case ApiStatusError(status=404):
            return "absent"
        case TimeoutError():
            return f"no answer within {QUESTION_S:g} s"
    return str(exc)
