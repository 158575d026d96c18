"""Streamed answers in an open loop: when the first of each came, from when its request was due."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from bench.chat import PATH
from bench.paced import percentile
from bench.shared_prefixes import Arrival

_END = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class FirstTokens:
    """What came of a series of requests. Times in seconds."""

    answered_s: Sequence[float]
    """From when each request was due to the first event of its answer."""
    open_s: Sequence[float]
    """For those that had no first event when the time was up: how long they had been due by then."""
    failed: int
    """Answers that were no 200, or ended before their end."""
    late_p99_s: float
    """How late requests were sent: the load's own part in the times."""

    def percentile_s(self, percent: float) -> float:
        """The time that so many of the requests did not exceed, those that were still open with the time they had."""
        return percentile([*self.answered_s, *self.open_s], percent)

    def is_bound(self, percent: float) -> bool:
        """Whether requests that were still open may have taken longer than that: it is the least that it can be."""
        return min(self.open_s, default=math.inf) <= self.percentile_s(percent)


async def send_streamed(url: str, arrivals: Sequence[Arrival], *, patience_s: float) -> FirstTokens:
    """Sends each request when it is due, whether or not others are answered.

    Ends with the last answer, at the latest `patience_s` after the last request was due: what is open then is given up.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout()) as session:
        return await _Sender(session).run(arrivals, patience_s)


class _Sender:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._first_s: dict[int, float] = {}
        self._late_s: list[float] = []
        self._failed = 0

    async def run(self, arrivals: Sequence[Arrival], patience_s: float) -> FirstTokens:
        begun_s = self._loop.time()
        async with asyncio.TaskGroup() as tasks:
            asks = []
            for index, arrival in enumerate(arrivals):
                due_s = begun_s + arrival.due_s
                if (wait_s := due_s - self._loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                self._late_s.append(self._loop.time() - due_s)
                asks.append(tasks.create_task(self._ask(index, due_s, arrival.body)))
            await asyncio.wait(asks, timeout=patience_s)
            ended_s = self._loop.time()
            given_up = {index for index, ask in enumerate(asks) if ask.cancel()}
        open_s = [ended_s - begun_s - arrivals[index].due_s for index in given_up if index not in self._first_s]
        return FirstTokens(list(self._first_s.values()), open_s, self._failed, percentile(self._late_s, 99))

    async def _ask(self, index: int, due_s: float, body: bytes) -> None:
        try:
            headers = {"content-type": "application/json"}
            async with self._session.post(PATH, data=body, headers=headers) as response:
                last = b""
                async for chunk in response.content.iter_any():
                    if response.status == 200:
                        self._first_s.setdefault(index, self._loop.time() - due_s)
                    last = last[-len(_END) :] + chunk
            self._failed += not (response.status == 200 and last.endswith(_END))
        except aiohttp.ClientError:
            self._failed += 1
