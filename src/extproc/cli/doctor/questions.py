"""Single questions to the API server, each with a bound: what was asked for, or how the answer was instead."""

import asyncio
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

from extproc.errors import ApiError, ApiStatusError
from extproc.sources.kubernetes.access import Access
from extproc.sources.kubernetes.client import ApiClient
from extproc.sources.kubernetes.objects import Decoder, KubernetesObject
from extproc.sources.kubernetes.pools import Group

QUESTION_S = 2.5
PAGE = 500
MOST_PAGES = 6
"""Of a list. What is beyond them is not read."""

T = TypeVar("T", bound=KubernetesObject)


class Listed(NamedTuple, Generic[T]):
    """What a list gave."""

    objects: list[T]
    is_whole: bool
    """False: there are more than were read."""


class Questions:
    """Questions about one namespace. An answer that is a text says why there is no other: `no` (403), `absent` (404),
    or what went wrong.
    """

    def __init__(self, access: Access, namespace: str, *, most_pages: int = MOST_PAGES) -> None:
        self._namespace = namespace
        self._most_pages = most_pages
        # One for all: to read certificates takes 50 ms each time.
        self._client = ApiClient(access)

    async def close(self) -> None:
        """Ends all connections."""
        await self._client.close()

    async def list(
        self, group: Group, resource: str, kind: type[T], selector: Mapping[str, str], *, only_first: bool = False
    ) -> Listed[T] | str:
        """The objects, page by page. After the first, pages may fail or take too long: what there is by then counts."""
        decoder, path = Decoder(kind), self._path(group, resource)
        params = {**selector, "limit": str(PAGE)}
        objects: list[T] = []
        pages = 0
        try:
            async with asyncio.timeout(QUESTION_S):
                while pages < (1 if only_first else self._most_pages):
                    page = decoder.read_page(await self._client.get(path, params))
                    objects += page.objects
                    pages += 1
                    if not page.continue_:
                        return Listed(objects, is_whole=True)
                    params["continue"] = page.continue_
        except (ApiError, TimeoutError) as exc:
            if not pages:
                return _answer_of(exc)
        return Listed(objects, is_whole=False)

    async def watch(self, group: Group, resource: str, selector: Mapping[str, str]) -> str:
        """`yes` where a watch is granted, which is then left."""
        params = {**selector, "timeoutSeconds": "1"}
        try:
            async with asyncio.timeout(QUESTION_S):
                async with self._client.watch(self._path(group, resource), params, silence_s=QUESTION_S):
                    return "yes"
        except (ApiError, TimeoutError) as exc:
            return _answer_of(exc)

    async def get(self, group: Group, resource: str, kind: type[T], name: str) -> T | str:
        """One object."""
        try:
            async with asyncio.timeout(QUESTION_S):
                path = f"{self._path(group, resource)}/{quote(name, safe='')}"
                return Decoder(kind).read(await self._client.get(path, {}))
        except (ApiError, TimeoutError) as exc:
            return _answer_of(exc)

    def _path(self, group: Group, resource: str) -> str:
        root = f"/apis/{group.name}/{group.version}" if group.name else f"/api/{group.version}"
        return f"{root}/namespaces/{quote(self._namespace, safe='')}/{resource}"


def _answer_of(exc: Exception) -> str:
    match exc:
        case ApiStatusError(status=403):
            return "no"
        case ApiStatusError(status=404):
            return "absent"
        case TimeoutError():
            return f"no answer within {QUESTION_S:g} s"
    return str(exc)
