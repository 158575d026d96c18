"""How a server goes: it serves those that have not heard of it yet, then lets open requests end."""

import asyncio
from collections.abc import Callable

import grpc

from extproc.servers.ext_proc import ExtProcService

QUIET_S = 1.0
"""A stopping server that saw no new stream for this long after its delay is no longer being sent any."""


async def serve_latecomers(
    service: ExtProcService, *, delay_s: float, stop_now: asyncio.Event, clock: Callable[[], float]
) -> None:
    """Returns when nobody is likely to send anything more.

    Data planes learn late: a server that refuses at once fails what they send meanwhile. One that still gets streams
    after the delay goes on until a second passed without a new one, at most for the delay again.
    """
    asked_at_s = clock()
    while not stop_now.is_set():
        quiet_at_s = max(asked_at_s + delay_s, service.last_stream_at_s + QUIET_S)
        remaining_s = min(quiet_at_s, asked_at_s + 2 * delay_s) - clock()
        if remaining_s <= 0:
            return
        try:
            async with asyncio.timeout(remaining_s):
                await stop_now.wait()
        except TimeoutError:
            continue


async def drain(server: grpc.aio.Server, service: ExtProcService, *, timeout_s: float, stop_now: asyncio.Event) -> None:
    """Lets open requests end within the time-out, or ends them when asked a second time to stop.

    Who only watches the health service is not waited for.
    """
    draining = asyncio.create_task(server.stop(timeout_s), name="drain")
    ends = [
        asyncio.create_task(stop_now.wait(), name="second signal"),
        asyncio.create_task(service.wait_idle(), name="no request is open"),
    ]
    try:
        await asyncio.wait((draining, *ends), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await server.stop(0)
        await draining
    finally:
        for task in (draining, *ends):
            task.cancel()
