"""The exception tree of the package.

ExtprocError
├── ConfigError             settings or an endpoints file cannot be used; holds every problem found
│   └── MissingError        nothing is wrong with them; something else is not there
├── PortInUseError          a port to listen on is taken
└── ApiError                Kubernetes' API server did not give what it was asked for
    ├── ApiConnectionError  it could not be reached, or the connection broke
    ├── ApiStatusError      it refused, with a status
    └── ApiAnswerError      its answer makes no sense

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


class MissingError(ConfigError):
    """Configuration that is right, and that needs what is not there where this process runs."""


class PortInUseError(ExtprocError):
    """A port to listen on is taken, or may not be opened by this user."""

    def __init__(self, purpose: str, address: str, setting: str) -> None:
        super().__init__(purpose, address, setting)
        self.purpose = purpose
        self.address = address
        self.setting = setting

    def __str__(self) -> str:
        return f"cannot listen on {self.address} for {self.purpose}: it is in use or not permitted (--{self.setting})"


class ApiError(ExtprocError):
    """Kubernetes' API server did not give what it was asked for."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class ApiConnectionError(ApiError):
    """The API server could not be reached, or the connection to it broke."""


class ApiAnswerError(ApiError):
    """The API server's answer makes no sense."""


class ApiStatusError(ApiError):
    """The API server refused. `retry_after_s` is when it asks to be asked again, None where it does not say."""

    def __init__(self, status: int, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.status}: {self.detail}" if self.detail else f"status {self.status}"
