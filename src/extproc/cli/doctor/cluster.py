"""What Kubernetes says of the pool, its pods and the picker, and what it lets the picker read.

Every question is one that the picker asks too, with the same credentials, so that the doctor needs no right more. What
it asks beside (its own pod, the picker's Service, all pods of the namespace) may be refused, and is then not known.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from extproc.cli.doctor.objects import FullPod, FullPool, Service
from extproc.cli.doctor.questions import MOST_PAGES, Listed, Questions
from extproc.sources.kubernetes.access import Access
from extproc.sources.kubernetes.names import NAME_GROUPS
from extproc.sources.kubernetes.objects import KubernetesObject
from extproc.sources.kubernetes.pools import GROUPS, Group, Selection, selection_of

CORE = Group("", "v1")
POOLS = "inferencepools"
KINDS = ("inferencemodelrewrites", "inferenceobjectives")


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
    has_more_pods: bool = False
    """More are selected than were read."""
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

    def __init__(self, access: Access, namespace: str, *, is_pickers: bool, most_pages: int = MOST_PAGES) -> None:
        self._access = access
        self._namespace = namespace
        self._is_pickers = is_pickers
        self._questions = Questions(access, namespace, most_pages=most_pages)

    async def read(
        self, *, pool: str, group: str | None, selection: Selection | None, own_pod: str | None
    ) -> ClusterFacts:
        """Everything there is to know. Without `selection` it is the pool's, in `group` or the first that has it."""
        try:
            return await self._read(pool, group, selection, own_pod)
        finally:
            await self._questions.close()

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
        listed = None if any(right.is_broken for right in rights) else await self._list_pods(selector, rights)
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
        pods = listed.objects if listed is not None and selection is not None else None
        other_pods = await self._questions.list(CORE, "pods", FullPod, {}) if pods == [] else None
        return ClusterFacts(
            origin=self._access.origin,
            is_pickers=self._is_pickers,
            namespace=self._namespace,
            rights=sorted(set(rights)),
            pools=pools,
            other_pools=sorted(set(names)),
            selection=selection,
            pods=pods,
            has_more_pods=pods is not None and listed is not None and not listed.is_whole,
            other_pods=other_pods.objects if isinstance(other_pods, Listed) else None,
            own_pod=own,
            service=service,
            service_answer=service_answer,
        )

    async def _find_pool(
        self, name: str, group: Group, rights: list[Right]
    ) -> tuple[bool, FullPool | None, Sequence[str]]:
        """Whether the group could be read, the pool, and the names of others."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        listed = await self._questions.list(group, POOLS, FullPool, selector)
        _note(rights, "list", POOLS, group, listed)
        if isinstance(listed, str):
            return listed == "absent", None, ()
        _note(rights, "watch", POOLS, group, await self._questions.watch(group, POOLS, selector))
        if listed.objects:
            return True, listed.objects[0], ()
        others = await self._questions.list(group, POOLS, FullPool, {})
        names = [each.metadata.name for each in others.objects] if isinstance(others, Listed) else []
        return True, None, names

    async def _list_pods(self, selector: Mapping[str, str], rights: list[Right]) -> Listed[FullPod] | None:
        listed = await self._questions.list(CORE, "pods", FullPod, selector)
        _note(rights, "list", "pods", CORE, listed)
        if isinstance(listed, str) and listed != "no":
            return None
        _note(rights, "watch", "pods", CORE, await self._questions.watch(CORE, "pods", selector))
        return listed if isinstance(listed, Listed) else None

    async def _try(self, group: Group, resource: str, rights: list[Right]) -> None:
        listed = await self._questions.list(group, resource, KubernetesObject, {}, only_first=True)
        _note(rights, "list", resource, group, listed, is_optional=True)
        if isinstance(listed, Listed):
            answer = await self._questions.watch(group, resource, {})
            _note(rights, "watch", resource, group, answer, is_optional=True)

    async def _find_pod(self, name: str | None) -> FullPod | None:
        found = await self._questions.get(CORE, "pods", FullPod, name) if name else ""
        return found if isinstance(found, FullPod) else None

    async def _find_service(self, name: str) -> tuple[Service | None, str]:
        found = await self._questions.get(CORE, "services", Service, name) if name else ""
        return (found, "yes") if isinstance(found, Service) else (None, found)


def _note(
    rights: list[Right], verb: str, resource: str, group: Group, said: object, *, is_optional: bool = False
) -> None:
    rights.append(Right(verb, resource, group.name, is_optional, said if isinstance(said, str) else "yes"))
