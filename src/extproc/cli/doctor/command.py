"""The command line of `extproc doctor`."""

import asyncio
import json
import logging
import os
from typing import Any

import click

from extproc.cli.admin_client import DEFAULT_TARGET
from extproc.cli.flags import SettingsCommand, read_settings
from extproc.errors import ConfigError

OWN = {"target": False, "token-file": False, "envoy-admin": False, "json": True}
"""Its own flags, beside those of serve, and whether they may stand alone."""


def _doctor(target: str, token_file: str | None, envoy_admin: str | None, as_json: bool, **options: str | None) -> None:
    # What the picker's own parts would log while they stand in for it, the verdicts say.
    logging.getLogger().addHandler(logging.NullHandler())
    # Everything that looks takes a while to import, and the help needs none of it.
    from extproc.cli.doctor.envoy_admin import EnvoyAdminError, check_url
    from extproc.cli.doctor.gather import Asked, gather
    from extproc.cli.doctor.report import judge, print_json, print_report

    if envoy_admin is not None:
        try:
            check_url(envoy_admin)
        except EnvoyAdminError as exc:
            raise click.UsageError(f"--envoy-admin: {exc.url!r} is no URL of an admin port: {exc.reason}") from exc
    flags = tuple([name.replace("_", "-") for name, value in options.items() if value is not None])
    try:
        given = read_settings(options)
    except ConfigError as exc:
        if as_json:
            problems = [{"where": problem.where, "what": problem.what} for problem in exc.problems]
            click.echo(json.dumps({"problems": problems}, indent=2))
        else:
            click.echo(exc, err=True)
        raise SystemExit(2) from exc
    evidence = asyncio.run(gather(Asked(given.settings, target, token_file, envoy_admin, os.environ, flags)))
    verdicts = judge(evidence)
    (print_json if as_json else print_report)(verdicts)
    faulty = {verdict.check for verdict in verdicts if verdict.state == "fault"}
    raise SystemExit(2 if "settings" in faulty else 1 if faulty else 0)


class _Command(SettingsCommand):
    """Takes its own flags in the syntax of serve's."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._known |= OWN


doctor = _Command(
    "doctor",
    callback=_doctor,
    params=[
        click.Option(
            ["--target"], default=DEFAULT_TARGET, show_default=True, help="host:port of the picker's admin service."
        ),
        click.Option(["--token-file"], help="File with the token that the picker's --admin-token-file names."),
        click.Option(["--envoy-admin"], metavar="URL", help="Envoy's admin port, http://host:port, to look at it too."),
        click.Option(
            ["--json", "as_json"], type=bool, default=False, metavar="", help="Verdicts as JSON, for scripts."
        ),
    ],
    short_help="Checks the wiring of a picker, and names the fault.",
    help_text="Checks what a picker is wired to, and names each fault with its evidence and its fix. Changes nothing, "
    "and ends within 10 seconds.\n\n"
    "Asks the running picker at --target for its settings and for what it knows. Run it where the picker runs: "
    "`kubectl exec deploy/extproc -- extproc doctor`. Where none runs, the flags of serve tell what to look at.\n\n"
    "Exit code 0 where there is no fault, 1 where there is one, 2 for wrong usage and where the flags or the file of "
    "settings, without a picker, are bad.",
)
