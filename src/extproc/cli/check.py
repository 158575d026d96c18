"""`extproc check`: the server's own loader, run and left."""

import click
import yaml

from extproc.cli.flags import SettingsCommand, read_settings
from extproc.errors import ConfigError
from extproc.sources.static import EndpointsFile


def _check(file: str | None, **options: str | None) -> None:
    try:
        settings, ignored = read_settings(options, config_file=file)
        source = EndpointsFile(settings.source.endpoints_file) if settings.source.endpoints_file else None
    except ConfigError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from exc
    click.echo(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True), sort_keys=False), nl=False)
    if source is not None:
        click.echo(f"# pool {source.pool}: {len(source.endpoints)} endpoints in {settings.source.endpoints_file}")
    for name in ignored:
        click.echo(f"# --{name} has no effect in this version")


check = SettingsCommand(
    "check",
    callback=_check,
    params=[click.Argument(["file"], required=False)],
    help_text="Reads the config FILE and flags with the server's own loader, and leaves.\n\n"
    "Prints the effective settings, or every problem (exit code 2). An endpoints file that they name is checked too.",
)
