"""Time that passes only when nothing else can happen: for tests of what takes how long."""

import asyncio
import heapq
import itertools
import math

_SETTLING_STEPS = 20  # rounds of the loop within which all that can happen at one moment has happened


class VirtualTime:
    """Called, it is a clock. `sleep` returns when `run` has come to where its sleeper wakes."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            wakes = asyncio.get_running_loop().create_future()
            heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._order), wakes))
            await wakes

    async def run(self, until_s: float = math.inf) -> None:
        """Returns at that time, with all done that happens at it; by default when nobody sleeps any more."""
        while True:
            for _ in range(_SETTLING_STEPS):
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > until_s:
                self._now_s = self._now_s if math.isinf(until_s) else until_s
                return
            self._now_s, _, wakes = heapq.heappop(self._sleepers)
            if not wakes.done():
                wakes.set_result(None)
