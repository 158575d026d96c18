"""The signals that stop a server."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Within it SIGTERM and SIGINT call `stop` on the event loop; then they do again what they did before.

    The loop's own handlers would leave the system's default behind them, by which a last signal kills a process that
    has stopped in peace and is about to exit.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
