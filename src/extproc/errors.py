"""The exception tree of the package.

ExtprocError
├── ConfigError      settings or an endpoints file cannot be used; holds every problem found
└── PortInUseError   a port to listen on is taken

A request that is refused is no exception: it is a value (`values.refusal.Reject`).
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ExtprocError(Exception):
    """Root of every exception that this package raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a piece of configuration."""

    where: str
    """Path of the value (`probes.models.interval`, `pools[0].endpoints[2].address`), or the name of a flag or file."""
    what: str
    """What is wrong with it, and what would be right."""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class ConfigError(ExtprocError):
    """Configuration that cannot be used. `problems` holds all of them, never just the first."""

    def __init__(self, origin: str, problems: Sequence[Problem]) -> None:
        super().__init__(origin, problems)
        self.origin = origin
        self.problems = tuple(problems)

    def __str__(self) -> str:
        count = len(self.problems)
        headline = f"{self.origin}: {count} problem{'s' if count > 1 else ''}"
        lines = [problem.what if problem.where == self.origin else str(problem) for problem in self.problems]
        return "\n".join([headline, *(f"  {line}" for line in lines)])


class PortInUseError(ExtprocError):
    """A port to listen on is taken, or may not be opened by this user."""

    def __init__(self, purpose: str, address: str, setting: str) -> None:
        super().__init__(purpose, address, setting)
        self.purpose = purpose
        self.address = address
        self.setting = setting

    def __str__(self) -> str:
        return f"cannot listen on {self.address} for {self.purpose}: it is in use or not permitted (--{self.setting})"
