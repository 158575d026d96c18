"""`extproc serve`: the server."""

import asyncio
import ctypes
import os
import time
from contextlib import suppress
from random import Random

import click
import grpc

from extproc.app import build
from extproc.cli.flags import Given, SettingsCommand, read_settings
from extproc.cli.garbage import collect_for_ever, spare_what_stays
from extproc.errors import ConfigError, PortInUseError
from extproc.settings.load import Loaded
from extproc.telemetry.logs import Log, configure_logs

M_MMAP_THRESHOLD = -3
"""Source: glibc's malloc.h."""

_log = Log("cli.serve")


def _serve(**options: str | None) -> None:
    try:
        given = read_settings(options)
        configure_logs(given.settings.telemetry)
        _return_large_blocks()
        log_what_has_no_effect(given)
        asyncio.run(_run(given.loaded))
    except (ConfigError, PortInUseError) as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc


def log_what_has_no_effect(given: Given) -> None:
    """One line for the flags, and one for the parts of an EndpointPickerConfig, with what decides instead."""
    for line in given.remarks():
        _log.warning(line)
    if given.notes:
        scheduling = given.settings.scheduling
        _log.warning(
            "parts of the EndpointPickerConfig without effect here",
            parts="; ".join(map(str, given.notes)),
            scorers=",".join(f"{scorer.name}={scorer.weight:g}" for scorer in scheduling.scorers),
            picker=scheduling.picker,
        )


def _return_large_blocks() -> None:
    """Has the C library give blocks of 1 MiB and more back to the system when they are freed.

    By default it comes to keep them after the first few bodies of megabytes. Source: docs/performance.md, P4. Other C
    libraries than glibc have no such setting, and some no such habit.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def _start_poller() -> None:
    """Has gRPC start its thread that waits for messages, with a policy under which it takes the core from nobody.

    By default it does so from the thread of the event loop, which woke it: eight times a request, on cores that are
    busy. Threads inherit the policy of who starts them. Other systems than Linux have no such policy, and a sandbox
    may forbid it. Source: docs/decisions/024-grpcs-threads.md.
    """
    normal = None
    with suppress(OSError, AttributeError):
        normal = os.sched_getscheduler(0)
        if normal == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        grpc.aio.init_grpc_aio()
    finally:
        if normal is not None:
            with suppress(OSError):
                os.sched_setscheduler(0, normal, os.sched_param(0))


async def _run(loaded: Loaded) -> None:
    _start_poller()
    rng = Random()  # noqa: S311 - ties and jitter
    app = build(loaded, environ=os.environ, clock=time.monotonic, wall_clock=time.time, rng=rng)
    spare_what_stays()
    collecting = asyncio.create_task(collect_for_ever(), name="full garbage collections")
    try:
        await app.run()
    finally:
        collecting.cancel()


serve = SettingsCommand(
    "serve",
    callback=_serve,
    short_help="The server: picks an endpoint for each request.",
    help_text="Serves ext_proc: sends every request to an endpoint that serves its model.\n\n"
    "The pool is named by one of --pool-name, --endpoint-selector, --dns-name and --endpoints-file.\n\n"
    "Flags are taken in Go's syntax (one dash or two, --flag=value, camelCase too). The setting that a flag sets is "
    "named in brackets, with its default; most settings stand in the config file only. Further flags of today's "
    "pickers are taken, and what of them has no effect is logged.",
)
