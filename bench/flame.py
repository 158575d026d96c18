"""Flame graphs of the picker, written to docs/images: under P1's load, and at rest with 1,000 endpoints as in P6.

py-spy looks at the real process from outside, so that it runs as it always does. Time in C, gRPC's among it, is part of
the Python function that called it. Threads that wait for the interpreter's lock count as if they ran: of them the
pictures show more than they cost.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from bench.chat import ENDPOINT_MODELS
from bench.endpoints import serve_endpoints, serve_nets
from bench.modes import FULL_DUPLEX
from bench.p6_idle import SETTLE_S
from bench.pods import address_of
from bench.processes import Picker, endpoints_file
from bench.results import BenchError, Result
from bench.scan import MODEL, fetch_page
from bench.sides import serve_sides
from bench.wrk import ensure_wrk, run_wrk

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SAMPLES_PER_S = 250
LOADED_S, IDLE_S = 12, 30
WARM_UP_S = 2
CONNECTIONS = 32
IDLE_ENDPOINTS = 1_000
MOST_BYTES = 300_000
"""A picture that the documentation can carry."""
_TITLE = re.compile(r'(<text id="title"[^>]*>)[^<]*(</text>)')


async def run() -> AsyncIterator[Result]:
    """A line for each picture."""
    ensure_wrk()
    async with serve_endpoints(ENDPOINT_MODELS) as endpoints, serve_sides(FULL_DUPLEX, endpoints) as sides:
        url, requests = sides.ours.url, sides.requests
        await run_wrk(url, requests, connections=CONNECTIONS, duration_s=WARM_UP_S)
        async with asyncio.TaskGroup() as both:
            both.create_task(run_wrk(url, requests, connections=CONNECTIONS, duration_s=LOADED_S + WARM_UP_S))
            yield await _record(sides.ours.server, "flame-full-duplex", "Full duplex, detach: P1's load", LOADED_S)
    page = await fetch_page()
    with tempfile.TemporaryDirectory(prefix="extproc-bench-") as directory:
        async with serve_nets((MODEL,), metrics_page=page.decode()) as port:
            addresses = [f"{address_of(index, 0)}:{port}" for index in range(IDLE_ENDPOINTS)]
            async with Picker(endpoints_file(addresses, Path(directory))) as picker:
                await asyncio.sleep(SETTLE_S)
                yield await _record(picker, "flame-idle-1000", f"At rest with {IDLE_ENDPOINTS:,} endpoints", IDLE_S)


async def _record(picker: Picker, name: str, title: str, duration_s: int) -> Result:
    """Errors: BenchError where py-spy is missing or may not look at processes, or the picture is too large."""
    target = IMAGES / f"{name}.svg"
    command = (
        *("record", "--pid", str(picker.pid), "--format", "flamegraph", "--output", target.name, "--nolineno"),
        *("--rate", str(SAMPLES_PER_S), "--duration", str(duration_s)),
    )
    try:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("py-spy")),
            *command,
            cwd=IMAGES,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError as exc:
        raise BenchError("py-spy is not installed: pip install 'extproc[bench]'") from exc
    printed, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"py-spy failed:\n{printed.decode(errors='replace')}")
    # Its own title is the command, with the paths of this machine.
    target.write_text(_TITLE.sub(rf"\g<1>{title}\g<2>", target.read_text(), count=1))
    if (size := target.stat().st_size) > MOST_BYTES:
        raise BenchError(f"{target.name} has {size:,} bytes: more than {MOST_BYTES:,}")
    return Result(name=f"{title}: {target.name}", figure=f"{size / 1e3:.0f} KB")
