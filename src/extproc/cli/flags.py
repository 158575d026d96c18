"""The flags of `serve` and `check`, in Go's syntax: users bring them along from the pickers they run today.

One dash or two, `--flag=value` or `--flag value`, `-v=4`, camelCase or kebab-case. As in Go, a flag that may stand
alone takes its value after `=` only (`--flag=false`), and of a flag that stands twice the last counts. Flags that are
foreign here are in `inherited`.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import click

from extproc.cli.inherited import TRANSLATED, WITHOUT_EFFECT, translate
from extproc.errors import ConfigError, Problem
from extproc.settings.llmd import Note
from extproc.settings.load import Flag, Loaded, flags, load
from extproc.settings.schema import Settings

CONFIG_FLAGS = {
    "config-file": "YAML file of settings (docs/configuration.md), every key optional; or an EndpointPickerConfig.",
    "config-text": "The same as text, instead of a file.",
}


def normalise(arguments: Sequence[str], known: Mapping[str, bool], *, idle: Collection[str] = ()) -> list[str]:
    """`arguments` with each flag as one `--kebab-case=value`, as click reads them without guessing.

    `known` maps each flag's name to whether it may stand without a value, which then is `true`. Some charts write
    `--flag` and `false` as two words, which Go takes for true: that is refused, as what is meant is not what happens,
    except for the flags in `idle`, whose value does not matter.
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
        written, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        name = _kebab(written)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise click.UsageError(f"unknown flag --{written}" + (f", did you mean --{near[0]}?" if near else ""))
        if not equals:
            if known[name] and rest and rest[0].lower() in ("true", "false"):
                value = rest.pop(0)
                if value.lower() == "false" and name not in idle:
                    raise click.UsageError(f"write --{name}={value}: this flag takes its value after = only")
            elif known[name]:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise click.UsageError(f"flag --{name} needs a value")
        result.append(f"--{name}={value}")
    return result


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


class SettingsCommand(click.Command):
    """A command whose options are the flags of the settings, beside `params`, its own: of those, one of the type bool
    may stand without a value.
    """

    def __init__(
        self,
        name: str,
        *,
        callback: Callable[..., Any],
        short_help: str = "",
        help_text: str,
        params: Sequence[click.Parameter] = (),
    ):
        settings_flags = flags()
        self._known = {flag.name: flag.is_bool for flag in settings_flags.values()}
        self._known |= dict.fromkeys(CONFIG_FLAGS, False) | dict(TRANSLATED) | dict(WITHOUT_EFFECT)
        for option in params:
            if isinstance(option, click.Option):
                is_bool = option.type is click.BOOL
                self._known |= {name.removeprefix("--"): is_bool for name in option.opts}
        options = [click.Option([f"--{name}"], help=text) for name, text in CONFIG_FLAGS.items()]
        options += [
            click.Option(
                [f"--{flag.name}"],
                help=f"{flag.field.description} [{'.'.join(flag.path)}{_default_of(flag)}]",
                metavar="BOOL" if flag.is_bool else "DURATION" if flag.is_duration else "VALUE",
            )
            for flag in settings_flags.values()
        ]
        options += [click.Option([f"--{name}"], hidden=True) for name in [*TRANSLATED, *WITHOUT_EFFECT]]
        super().__init__(name, callback=callback, short_help=short_help, help=help_text, params=[*params, *options])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, normalise(args, self._known, idle=WITHOUT_EFFECT))


def _default_of(flag: Flag) -> str:
    value: Any = Settings().model_dump(mode="json", by_alias=True)
    for key in flag.path:
        value = value[key]
    return "" if value in (None, []) else f": {str(value).lower() if isinstance(value, bool) else value}"


class Given(NamedTuple):
    """What a command line says."""

    loaded: Loaded

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Names of the given flags that have no effect here."""
        return self.loaded.command_line.without_effect

    @property
    def settings(self) -> Settings:
        """The effective settings."""
        return self.loaded.settings

    @property
    def notes(self) -> tuple[Note, ...]:
        """Parts of an EndpointPickerConfig that have no effect here."""
        return self.loaded.notes

    def remarks(self) -> list[str]:
        """One line for each kind of flag that has no effect."""
        lines = []
        if self.without_effect:
            lines.append(f"flags without effect here: {', '.join(f'--{name}' for name in self.without_effect)}")
        return lines


def read_settings(options: Mapping[str, str | None], *, config_file: str | None = None) -> Given:
    """The settings that a command's options say, and what of them has no effect.

    Errors: ConfigError with every problem, be it in a flag or in the file.
    """
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    file = given.pop("config-file", "") or None  # Go's default is "", and charts write it out
    text = given.pop("config-text", "") or None
    if file and config_file:
        raise ConfigError("flags", [Problem("--config-file", f"give one file, not {config_file} as well")])
    values, implied, without_effect, problems = translate(given)
    try:
        loaded = load(
            file=file or config_file, text=text, flag_values=values, implied=implied, without_effect=without_effect
        )
    except ConfigError as exc:
        raise ConfigError(exc.origin, [*problems, *exc.problems]) from exc
    if problems:
        raise ConfigError("flags", problems)
    return Given(loaded)
