"""When a model, or the pool, has nothing free: every endpoint that could serve has as much as it should have."""

from collections.abc import Iterable
from typing import Protocol

import msgspec

from extproc.values.load import EngineLoad


class Occupancy(Protocol):
    """What is asked of an endpoint's load. `now` is in monotonic seconds."""

    reading: EngineLoad | None

    def confidence(self, now: float) -> float:
        """How much the reading still says: 1 while it is fresh, 0 where there is none."""

    def waiting(self) -> float | None:
        """Requests in its queue; None where nobody says."""

    def requests(self, now: float) -> float:
        """Requests there, waiting or running."""


class Limits(msgspec.Struct, frozen=True):
    """What an endpoint may have before it counts as saturated. None is no limit."""

    queue_depth: float | None = 5
    kv_used_ratio: float | None = 0.8
    in_flight: float | None = None


def is_saturated(loads: Iterable[Occupancy], limits: Limits, *, now: float) -> bool:
    """True when each of `loads` has reached one of the limits; false for none at all.

    What is not known, or too old to be believed, has reached none: a request is not refused on a guess.
    """
    is_any = False
    for load in loads:
        if not _is_full(load, limits, now):
            return False
        is_any = True
    return is_any


def _is_full(load: Occupancy, limits: Limits, now: float) -> bool:
    if limits.in_flight is not None and load.requests(now) >= limits.in_flight:
        return True
    reading = load.reading
    if reading is None or load.confidence(now) <= 0.0:
        return False
    # Where nobody waited, what was sent since may have begun at once: that is no queue yet.
    waiting = load.waiting() if reading.waiting else reading.waiting
    if limits.queue_depth is not None and waiting is not None and waiting >= limits.queue_depth:
        return True
    used = reading.kv_used_ratio
    return limits.kv_used_ratio is not None and used is not None and used >= limits.kv_used_ratio
