"""When Python looks for garbage in cycles: rarely among what has been there for long, as that stops the picker."""

import asyncio
import gc
import time

LEAST_PAUSE_S = 60.0
LARGEST_SHARE = 1 / 2000
"""Of all time that full collections may take."""


def spare_what_stays() -> None:
    """Has the garbage collector leave alone what was imported and built, and look through all the rest less often.

    A full collection stops the picker: with 200 endpoints for 76 ms, 13 ms without what was imported; with 5,000 for
    0.25 s, every 6 s. What becomes garbage in cycles mostly dies young, where it is looked for as often as before.
    Source: docs/performance.md, "A pool of 5,000 pods".
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 1000)


async def collect_for_ever(least_pause_s: float = LEAST_PAUSE_S) -> None:
    """Makes a full collection now and then, by the time that it takes.

    Requests that are open when the young are looked through are old from then on, and what gRPC leaves of them are
    cycles: 0.45 MB a minute at 900 requests a second, which nothing else would look for in two hours. Source:
    docs/performance.md, "A soak".
    """
    pause_s = least_pause_s
    while True:
        await asyncio.sleep(pause_s)
        began_s = time.thread_time()
        gc.collect()
        pause_s = pause_after_s(time.thread_time() - began_s, least_pause_s)


def pause_after_s(took_s: float, least_pause_s: float = LEAST_PAUSE_S) -> float:
    """Seconds from a full collection to the next."""
    return max(least_pause_s, took_s / LARGEST_SHARE)
