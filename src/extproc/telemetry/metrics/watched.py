"""What the gauges read when they are scraped, as they need it."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from extproc.values.load import EngineLoad
from extproc.values.snapshot import Snapshot


class Knowledge(Protocol):
    """What is known of the pool."""

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot."""

    def answered_at_s(self, endpoint_id: str) -> float | None:
        """Monotonic seconds of an endpoint's last good answer."""


class OpenRequests(Protocol):
    """Requests in flight."""

    is_exact: bool

    def by_name(self, endpoints: Mapping[str, str]) -> Mapping[str, int]:
        """Counts by name: of each endpoint of `endpoints` (id → name), and of others that still have requests."""


class Readings(Protocol):
    """What engines said of their load."""

    staleness_s: float
    """Up to this age a reading is fresh."""

    def readings(self) -> Mapping[str, EngineLoad]:
        """The last reading of each endpoint's metrics page, by endpoint id."""


class Held(Protocol):
    """Bytes of request bodies in memory."""

    held_bytes: int
    limit_bytes: int


class Prefixes(Protocol):
    """The index of prompts' beginnings."""

    most_blocks: int

    def __len__(self) -> int:
        """Blocks that it has."""


class Watched(NamedTuple):
    """All of it. None: it is not there, and has no metrics."""

    knowledge: Knowledge
    in_flight: OpenRequests
    loads: Readings | None = None
    held: Held | None = None
    prefixes: Prefixes | None = None
