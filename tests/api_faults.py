"""What the gate does to what passes: which requests it answers itself, which events it loses, how it cuts."""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from tests.api_objects import Manifest

Kind = Literal["connection", "list", "watch", "get", "write", "other", "answered", "dropped"]
How = Literal["clean", "torn", "eof", "reset"]

_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Answer:
    """A refusal that stands in for the server's answers. `count`: how many it gave."""

    code: int
    body: bytes
    headers: Mapping[str, str]
    path_part: str
    kinds: Sequence[Kind]
    times: int | None
    count: int = 0

    def fits(self, kind: Kind, path: str) -> bool:
        """Whether it is to be given once more."""
        is_left = self.times is None or self.count < self.times
        return is_left and self.path_part in path and (not self.kinds or kind in self.kinds)


@dataclass(slots=True)
class Loss:
    """Which watch events are lost on their way."""

    predicate: Callable[[Manifest], bool]
    times: int | None
    count: int = 0

    def takes(self, event: Manifest) -> bool:
        """Whether this one is lost; counts it."""
        is_lost = (self.times is None or self.count < self.times) and self.predicate(event)
        self.count += is_lost
        return is_lost


def kind_of(request: web.BaseRequest) -> Kind:
    """What a request asks for, by its path: `/api/v1[/namespaces/ns]/plural[/name]`."""
    parts = request.path.strip("/").split("/")
    root = 2 if parts[0] == "api" else 3
    if parts[0] not in ("api", "apis") or len(parts) <= root:
        return "other"
    if request.method not in ("GET", "HEAD"):
        return "write"
    if request.query.get("watch") in ("1", "true"):
        return "watch"
    within = parts[root:]
    if within[0] == "namespaces" and len(within) > 2:
        within = within[2:]
    return "get" if len(within) > 1 else "list"


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Drops a connection so that the other side sees a TCP reset."""
    if isinstance(transport, asyncio.WriteTransport):
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
