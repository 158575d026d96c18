"""What a check of `doctor` says."""

from typing import Literal, NamedTuple

State = Literal["ok", "fault", "warning", "not checked"]


class Verdict(NamedTuple):
    """One check's result. A verdict without evidence is `not checked`, and says what it would take to check it."""

    check: str
    """What was looked at, in a few words; the same whatever is found."""
    state: State
    evidence: str
    """What was seen, with its figures and names; of `not checked`, why not."""
    fix: str = ""
    """What to change, down to the key, flag or command; of a fault or a warning never empty."""
