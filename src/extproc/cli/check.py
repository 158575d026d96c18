"""`extproc check`: the server's own loader, run and left."""

import click
import yaml

from extproc.app import missing_for_start, read_inputs
from extproc.cli.flags import SettingsCommand, read_settings
from extproc.errors import ConfigError


def _check(file: str | None, **options: str | None) -> None:
    try:
        settings, ignored = read_settings(options, config_file=file)
        inputs = read_inputs(settings)
        if inputs.problems:
            raise ConfigError("settings", inputs.problems)
    except ConfigError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc
    click.echo(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True), sort_keys=False), nl=False)
    if source := inputs.source:
        click.echo(f"# pool {source.pool}: {len(source.endpoints)} endpoints in {settings.source.endpoints_file}")
    for problem in missing_for_start(settings):
        click.echo(f"# to start, serve still needs {problem}")
    for name in ignored:
        click.echo(f"# --{name} has no effect in this version")


check = SettingsCommand(
    "check",
    callback=_check,
    params=[click.Argument(["file"], required=False)],
    help_text="Checks the config FILE and flags with the server's own loader, without serving.\n\n"
    "Prints the effective settings, or every problem (exit code 2); also those of the files that they name.",
)
