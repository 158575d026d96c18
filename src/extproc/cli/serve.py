"""`extproc serve`: the server."""

import asyncio
import time
from random import Random

import click

from extproc.app import build
from extproc.cli.flags import SettingsCommand, read_settings
from extproc.errors import ConfigError, PortInUseError
from extproc.settings.schema import Settings
from extproc.telemetry.logs import Log, configure_logs

_log = Log("cli.serve")


def _serve(**options: str | None) -> None:
    try:
        settings, ignored = read_settings(options)
        configure_logs(settings.telemetry.verbosity)
        for name in ignored:
            _log.warning("flag has no effect in this version", flag=f"--{name}")
        asyncio.run(_run(settings))
    except (ConfigError, PortInUseError) as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc


async def _run(settings: Settings) -> None:
    await build(settings, clock=time.monotonic, rng=Random()).run()  # noqa: S311 - ties and jitter


serve = SettingsCommand(
    "serve",
    callback=_serve,
    help_text="Serves ext_proc: sends every request to an endpoint that serves its model.\n\n"
    "Flags are taken in Go's syntax (one dash or two, --flag=value, camelCase too). The setting that a flag sets is "
    "named in brackets.",
)
