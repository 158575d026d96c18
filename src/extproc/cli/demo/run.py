"""One run of the demo from the first process to the last: start, measure, judge, show, stop."""

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from extproc.cli.demo.child import ChildError
from extproc.cli.demo.client import open_session
from extproc.cli.demo.disruption import measure_disruption
from extproc.cli.demo.figures import Measured, is_all_right, judge, unexplained
from extproc.cli.demo.fleet import Fleet
from extproc.cli.demo.measure import STEPS, ask_unknown, measure_routing
from extproc.cli.demo.report import print_commands, print_failures, step, table
from extproc.errors import ExtprocError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NOTICE_S = 1.0

_T = TypeVar("_T")


class InterruptedRunError(ExtprocError):
    """A signal came before everything was measured."""

    def __str__(self) -> str:
        return "interrupted"


async def run(ports: Mapping[str, int], directory: Path, *, keep: bool, console: Console) -> bool:
    """True when every number is right. Logs of the processes are in `directory`; all have ended when this returns.

    With `keep` it returns after the next SIGINT, SIGTERM or SIGHUP. Raises InterruptedRunError when such a signal comes
    earlier, ChildError and EnvoyError for a process that cannot start or ends; nothing is left running then either.
    """
    stop = asyncio.Event()
    for number in _SIGNALS:  # a second one changes nothing: stopping takes a bounded time
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    fleet = Fleet(ports, directory)
    try:
        measured = await _race(_measure(fleet, console), fleet.ended, stop)
        if measured is None:
            raise InterruptedRunError
        parts = judge(measured)
        console.print(table(parts))
        is_right = is_all_right(parts)
        console.print("[green]✓ every number is right[/]" if is_right else "[red]✗ not every number is right[/]")
        if not is_right:
            print_failures(console, unexplained(measured))
        if keep:
            print_commands(console, ports)
            await _race(asyncio.Event().wait(), fleet.ended, stop)
    finally:
        await fleet.stop()
    return is_right


async def _measure(fleet: Fleet, console: Console) -> Measured:
    with step(console, "starting four simulated servers"):
        await fleet.start_servers()
    with step(console, "starting the picker"):
        await fleet.start_picker()
    with step(console, "starting Envoy, once without and once with the picker"):
        await fleet.start_envoys()
    async with open_session() as session:
        with step(console, "Envoy, round robin, no picker", total=STEPS) as advance:
            alone = await measure_routing(session, fleet, fleet.alone.url, advance=advance)
        with step(console, "Envoy with extproc, Istio's filter settings", total=STEPS) as advance:
            picked = await measure_routing(session, fleet, fleet.gateway.url, advance=advance)
            unknown = await ask_unknown(session, fleet.gateway.url)
        with step(console, "the same, one server killed and restarted") as advance:
            disruption = await measure_disruption(session, fleet, fleet.gateway.url, advance=advance)
    return Measured(alone=alone, picked=picked, unknown=unknown, disruption=disruption)


async def _race(work: Coroutine[Any, Any, _T], ended: asyncio.Future[ChildError], stop: asyncio.Event) -> _T | None:
    """What `work` returns, or None if a signal came first. Raises what `work` raises, or the end of a child."""
    working = asyncio.create_task(work, name="demo")
    stopping = asyncio.create_task(stop.wait(), name="signal")
    try:
        await asyncio.wait({working, stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        if working.done() and working.exception() is not None:
            # What a dead child causes can be seen before its death is: name the cause.
            await asyncio.wait({ended}, timeout=_NOTICE_S)
        if ended.done():
            raise ended.result()
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working, stopping})
