"""`extproc check`: the server's own loader, run and left."""

import json
import os
import time
from random import Random
from typing import Any

import click

from extproc.cli.flags import Given, SettingsCommand, read_settings
from extproc.errors import ConfigError
from extproc.inputs import Inputs, read_inputs
from extproc.settings.effective import render_annotated
from extproc.settings.json_schema import render_json_schema


def _check(file: str | None, schema: bool, as_json: bool, **options: str | None) -> None:
    if schema:
        click.echo(json.dumps(render_json_schema(), indent=2))
        return
    try:
        given = read_settings(options, config_file=file)
        inputs = read_inputs(given.settings, environ=os.environ, clock=time.monotonic, rng=Random())  # noqa: S311 - not used
        if inputs.problems:
            raise ConfigError("settings", inputs.problems)
    except ConfigError as exc:
        if as_json:
            problems = [{"where": problem.where, "what": problem.what} for problem in exc.problems]
            click.echo(json.dumps({"problems": problems}, indent=2))
        else:
            click.echo(exc, err=True)
        raise SystemExit(2) from exc
    if as_json:
        click.echo(json.dumps(_describe(given, inputs), indent=2))
    else:
        _print(given, inputs)


def _describe(given: Given, inputs: Inputs) -> dict[str, Any]:
    source = inputs.source
    return {
        "problems": [],
        "settings": given.settings.model_dump(mode="json", by_alias=True),
        "origins": dict(given.loaded.origins),
        "pool": None if source is None else {"name": str(source.pool), "origin": source.origin},
        "missing": [str(problem) for problem in inputs.missing],
        "waived": [str(problem) for problem in inputs.waived],
        "without_effect": [*given.remarks(), *map(str, given.notes)],
    }


def _print(given: Given, inputs: Inputs) -> None:
    click.echo(render_annotated(given.loaded), nl=False)
    if source := inputs.source:
        click.echo(f"# pool {source.pool}: {source.origin}")
    for problem in inputs.missing:
        click.echo(f"# to start, serve still needs {problem}")
    for problem in inputs.waived:
        click.echo(f"# serve goes without {problem}")
    for line in given.remarks():
        click.echo(f"# {line}")
    if given.notes:
        click.echo("# parts of the EndpointPickerConfig without effect here:")
    for note in given.notes:
        click.echo(f"#   {note}")


check = SettingsCommand(
    "check",
    callback=_check,
    params=[
        click.Argument(["file"], required=False),
        click.Option(
            ["--schema"], type=bool, default=False, metavar="", help="Print the config file's JSON Schema, for editors."
        ),
        click.Option(
            ["--json", "as_json"], type=bool, default=False, metavar="", help="The same as JSON, for scripts."
        ),
    ],
    short_help="Checks a config and flags, without serving.",
    help_text="Checks the config FILE and flags with the server's own loader, without serving.\n\n"
    "Prints the effective settings, those that are no defaults with where they come from, or every problem (exit code "
    "2); also those of the files that they name.",
)
