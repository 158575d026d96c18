"""Waiting until something is so, without sleeping: asked again at each change."""

import asyncio
from collections.abc import Callable


class Changes:
    """The changes of one object that a test watches."""

    def __init__(self) -> None:
        self._next: asyncio.Event | None = None

    def notify(self) -> None:
        """Something changed. Those who wait look after the running callback has ended, so at what it left."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def until(self, is_so: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
        """Return once `is_so()`; at once if it is now. Raises TimeoutError, so that a broken test ends."""
        async with asyncio.timeout(timeout_s):
            while not is_so():
                if self._next is None:
                    self._next = asyncio.Event()
                await self._next.wait()
