"""When a model, or the pool, has nothing free: the endpoints that could serve have as much as they should have.

Source: docs/decisions/019; the Gateway API Inference Extension's utilization detector takes the mean, too.
"""

from collections.abc import Iterable
from math import fsum
from typing import Protocol

import msgspec

from extproc.values.load import EngineLoad

MOST_SHARE = 4.0
"""What one endpoint counts for at most: one that hangs must not have a pool refuse that has room."""


class Occupancy(Protocol):
    """What is asked of an endpoint's load. `now` is in monotonic seconds."""

    reading: EngineLoad | None
    waiting: float | None
    """Requests in its queue; None where nobody says."""

    def confidence(self, now: float) -> float:
        """How much the reading still says: 1 while it is fresh, 0 where there is none."""

    def requests(self, now: float) -> float:
        """Requests there, waiting or running."""


class Limits(msgspec.Struct, frozen=True):
    """What an endpoint may have before it counts as saturated. None is no limit."""

    queue_depth: float | None = 5
    kv_used_ratio: float | None = 0.8
    in_flight: float | None = None


def is_saturated(loads: Iterable[Occupancy], limits: Limits, *, now: float) -> bool:
    """True when endpoints with these loads have, on average, reached a limit; false for none at all.

    On average, for what waits at one of them is not helped by room at another that the next requests need as well.
    What is not known, or too old to be believed, has nothing: a request is not refused on a guess.
    """
    shares = [_share(load, limits, now) for load in loads]
    return bool(shares) and fsum(shares) >= len(shares)


def _share(load: Occupancy, limits: Limits, now: float) -> float:
    """What an endpoint has, as a share of the limit that it is nearest to: 1 where it has reached it."""
    share = 0.0
    if limits.in_flight is not None:
        share = _ratio(load.requests(now), limits.in_flight)
    reading = load.reading
    if reading is None or load.confidence(now) <= 0.0:
        return share
    # Where nobody waited, what was sent since may have begun at once: that is no queue yet.
    waiting = load.waiting if reading.waiting else reading.waiting
    if limits.queue_depth is not None and waiting is not None:
        share = max(share, _ratio(waiting, limits.queue_depth))
    if limits.kv_used_ratio is not None and reading.kv_used_ratio is not None:
        share = max(share, _ratio(reading.kv_used_ratio, limits.kv_used_ratio))
    return share


def _ratio(value: float, limit: float) -> float:
    """At most `MOST_SHARE`. A limit of 0 is always reached."""
    return min(value / limit, MOST_SHARE) if limit else MOST_SHARE
