"""How late the event loop is: everything that it serves waits so long too."""

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.5


async def watch_loop(
    observe: Callable[[float], None], *, clock: Callable[[], float], interval_s: float = INTERVAL_S
) -> None:
    """Tells for ever how late a timer rings. `clock` gives the event loop's own seconds."""
    while True:
        due_at_s = clock() + interval_s
        await asyncio.sleep(interval_s)
        observe(max(0.0, clock() - due_at_s))
