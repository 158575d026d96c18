"""A picker whose log is read: what it said of itself and of its endpoints, and when, to the millisecond."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bench.processes import Picker

SERVING, NEW_ENDPOINT, CHANGED_ENDPOINT, READY = (
    "app serving",
    "registry endpoint new",
    "registry endpoint changed",
    "app ready",
)
_LINE = re.compile(
    r"^(?P<at>\S+Z) \S+ +extproc\.(?P<what>app serving|app ready|registry endpoint (?:new|changed)) "
    r"(?:.*?\bendpoint=(?P<endpoint>\S+))?(?:.*\bready=(?P<ready>\w+) confirmed=(?P<confirmed>\w+))?"
)


@dataclass(frozen=True)
class Said:
    """A line of the picker's log. Times are the day's, in seconds; the log cuts them to whole milliseconds."""

    at_s: float
    what: str
    endpoint: str | None
    state: tuple[bool, bool]
    """Ready, and confirmed."""


class LoggedPicker(Picker):
    """Keeps the lines that tell of starts and of endpoints."""

    def __init__(self, *source: str, config: Mapping[str, object] | None = None) -> None:
        super().__init__(*source, config=config)
        self.said: list[Said] = []

    def _hear(self, line: str) -> None:
        super()._hear(line)
        if found := _LINE.match(line):
            state = (found["ready"] == "True", found["confirmed"] == "True")
            at_s = datetime.fromisoformat(found["at"]).timestamp()
            self.said.append(Said(at_s, found["what"], found["endpoint"], state))

    def after_start_s(self, what: str) -> float:
        """Seconds from the start of the process until it first said that."""
        return next(said.at_s for said in self.said if said.what == what) - self.begun_at_s
