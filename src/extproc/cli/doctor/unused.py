"""Says which flags were not looked at, as a picker runs whose own settings count."""

from collections.abc import Iterator

from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.verdict import Verdict
from extproc.cli.wording import name_some


def check(evidence: Evidence) -> Iterator[Verdict]:
    """Flags of serve beside a picker that answers."""
    if not evidence.unused_flags:
        return
    named = name_some([f"--{name}" for name in evidence.unused_flags])
    yield Verdict(
        "flags of serve",
        "warning",
        f"not looked at: {named}, as a picker runs at {evidence.target}, and its own settings count",
        "Leave them out; or, to see what they would lead to, name with --target an address where no picker answers.",
    )
