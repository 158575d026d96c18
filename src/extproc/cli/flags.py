"""The flags of `serve` and `check`, in Go's syntax: users bring them along from the pickers they run today.

One dash or two, `--flag=value` or `--flag value`, `-v=4`, camelCase or kebab-case. As in Go, a flag that may stand
alone takes its value after `=` only: `--flag=false`.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from extproc.errors import ConfigError, Problem
from extproc.settings.load import flags, load_settings
from extproc.settings.schema import Settings

CONFIG_FLAGS = {
    "config-file": "YAML file of settings; every key is optional.",
    "config-text": "The same as text.",
}
WITHOUT_EFFECT = ("refresh-metrics-interval", "metrics-staleness-threshold")
"""Flags of today's pickers that mean nothing here yet: said once."""
NOT_YET = ("pool-name", "pool-namespace", "pool-group")
"""Flags that a server must not start without understanding."""


def normalise(arguments: Sequence[str], known: dict[str, bool]) -> list[str]:
    """`arguments` with each flag as one `--kebab-case=value`, as click reads them without guessing.

    `known` maps each flag's name to whether it may stand without a value, which then is `true`.
    Errors: click.UsageError (exit code 2) for an unknown flag, with a suggestion, and for a missing value.
    """
    result: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-help", "--help"):
            result.append("--help")
            continue
        if word == "-h" or not word.startswith("-") or word == "-":
            result.append(word)
            continue
        if word == "--":
            return [*result, word, *rest]
        written, equals, value = word.lstrip("-").partition("=")
        name = _kebab(written)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise click.UsageError(f"unknown flag --{written}" + (f", did you mean --{near[0]}?" if near else ""))
        if not equals:
            if known[name] and rest and rest[0].lower() in ("true", "false"):
                raise click.UsageError(f"write --{name}={rest[0]}: this flag takes its value after = only")
            if known[name]:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise click.UsageError(f"flag --{name} needs a value")
        result.append(f"--{name}={value}")
    return result


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


class SettingsCommand(click.Command):
    """A command whose options are the flags of the settings."""

    def __init__(
        self, name: str, *, callback: Callable[..., Any], help_text: str, params: Sequence[click.Parameter] = ()
    ):
        settings_flags = flags()
        self._known = {flag.name: flag.is_bool for flag in settings_flags.values()}
        self._known |= dict.fromkeys([*CONFIG_FLAGS, *NOT_YET, *WITHOUT_EFFECT], False)
        options = [click.Option([f"--{name}"], help=text) for name, text in CONFIG_FLAGS.items()]
        options += [
            click.Option(
                [f"--{flag.name}"],
                help=f"{flag.field.description} [{'.'.join(flag.path)}]",
                metavar="BOOL" if flag.is_bool else "DURATION" if flag.is_duration else "VALUE",
            )
            for flag in settings_flags.values()
        ]
        options += [click.Option([f"--{name}"], hidden=True) for name in [*NOT_YET, *WITHOUT_EFFECT]]
        super().__init__(name, callback=callback, help=help_text, params=[*params, *options])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, normalise(args, self._known))


def read_settings(options: dict[str, str | None], *, config_file: str | None = None) -> tuple[Settings, list[str]]:
    """The settings that a command's options say, and the names of the given flags that have no effect.

    Errors: ConfigError with every problem, be it in a flag or in the file.
    """
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    file = given.pop("config-file", "") or None  # Go's default is "", and charts write it out
    text = given.pop("config-text", "") or None
    if file and config_file:
        raise ConfigError("flags", [Problem("--config-file", f"give one file, not {config_file} as well")])
    file = file or config_file
    ignored = [name for name in given if name in WITHOUT_EFFECT]
    problems = [
        Problem(f"--{name}", "Kubernetes pools are not part of this version: use --endpoints-file")
        for name in given
        if name in NOT_YET
    ]
    values = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT and name not in NOT_YET}
    try:
        settings = load_settings(file=file, text=text, flag_values=values)
    except ConfigError as exc:
        raise ConfigError(exc.origin, [*problems, *exc.problems]) from exc
    if problems:
        raise ConfigError("flags", problems)
    return settings, ignored
