"""Go-style durations as the type of a click option."""

from typing import Any

import click

from extproc.values.duration import parse_duration


class DurationType(click.ParamType[float]):
    """A Go-style duration on the command line, seconds in the program."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


DURATION = DurationType()
