"""`extproc check`: the server's own loader, run and left."""

import os
import time
from random import Random

import click
import yaml

from extproc.app import read_inputs
from extproc.cli.flags import SettingsCommand, read_settings
from extproc.errors import ConfigError


def _check(file: str | None, **options: str | None) -> None:
    try:
        given = read_settings(options, config_file=file)
        settings = given.settings
        inputs = read_inputs(settings, environ=os.environ, clock=time.monotonic, rng=Random())  # noqa: S311 - not used
        if inputs.problems:
            raise ConfigError("settings", inputs.problems)
    except ConfigError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc
    click.echo(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True), sort_keys=False), nl=False)
    if source := inputs.source:
        click.echo(f"# pool {source.pool}: {source.origin}")
    for problem in inputs.missing:
        click.echo(f"# to start, serve still needs {problem}")
    for line in given.remarks():
        click.echo(f"# {line}")
    if given.notes:
        click.echo("# parts of the EndpointPickerConfig without effect here:")
    for note in given.notes:
        click.echo(f"#   {note}")


check = SettingsCommand(
    "check",
    callback=_check,
    params=[click.Argument(["file"], required=False)],
    short_help="Checks a config and flags, without serving.",
    help_text="Checks the config FILE and flags with the server's own loader, without serving.\n\n"
    "Prints the effective settings, or every problem (exit code 2); also those of the files that they name.",
)
