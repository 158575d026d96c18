"""The signals that stop a server, and one that must not."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from extproc.telemetry.logs import Log

_log = Log("servers.signals")


@contextmanager
def signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Within it SIGTERM and SIGINT call `stop` on the event loop, and SIGHUP does nothing: by habit it is sent to have
    a config read again, which is followed without it. Then they do again what they did before.

    The loop's own handlers would leave the system's default behind them, by which a last signal kills a process that
    has stopped in peace and is about to exit.
    """
    loop = asyncio.get_running_loop()
    calls = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: _say_followed}
    before = {number: signal.signal(number, _calling(loop, call)) for number, call in calls.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _calling(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> Callable[[int, object], object]:
    return lambda *_: loop.call_soon_threadsafe(call)


def _say_followed() -> None:
    _log.info("SIGHUP has no effect: the config file is followed without it")
