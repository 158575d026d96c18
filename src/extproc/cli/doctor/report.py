"""What the checks say, for a terminal or a script."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import click
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from extproc.cli.doctor import (
    engines,
    envoy_clusters,
    envoy_filter,
    envoy_pool,
    envoy_routes,
    picker,
    pods,
    pool,
    rights,
    streams,
    unused,
)
from extproc.cli.doctor.evidence import Evidence
from extproc.cli.doctor.passages import unseen
from extproc.cli.doctor.verdict import State, Verdict
from extproc.cli.wording import plain

Check = Callable[[Evidence], Iterator[Verdict]]

CHECKS: tuple[Check, ...] = (
    picker.check,
    unused.check,
    rights.check,
    pool.check,
    pods.check,
    engines.check,
)
ENVOY: tuple[Check, ...] = (envoy_filter.check, envoy_routes.check, envoy_clusters.check, envoy_pool.check)
STYLES: dict[State, str] = {"ok": "green", "fault": "bold red", "warning": "yellow", "not checked": "dim"}
LABELS: dict[State, str] = {"ok": "ok", "fault": "FAULT", "warning": "warning", "not checked": "not checked"}
ORDER: tuple[State, ...] = ("fault", "warning")
"""What is printed first. The rest follows in the order of the checks."""
PLURALS: dict[State, str] = {"fault": "faults", "warning": "warnings"}
LEAST_WIDTH = 60
LONGEST_TEXT = 10_000

_NEXT_LINE = re.compile(r"\n(?=- [a-z]\w*: |  [a-z]\w*: )")
"""Ends of lines that are let through, in a fix alone: those before the rules of a Role."""


def judge(evidence: Evidence) -> list[Verdict]:
    """Every check's verdicts, in the order of the checks. What nobody was asked about is told of once."""
    checks = [*CHECKS, *([streams.check] if evidence.snapshot is not None else []), *(ENVOY if evidence.envoy else [])]
    verdicts = [verdict for check in checks for verdict in check(evidence)]
    if evidence.envoy is None:
        verdicts.append(unseen("Envoy", evidence))
    return verdicts


def print_json(verdicts: Sequence[Verdict]) -> None:
    """One object: `verdicts`, and how many there are of each state."""
    counts = Counter(verdict.state for verdict in verdicts)
    document = {
        "verdicts": [verdict._asdict() for verdict in verdicts],
        "summary": {state.replace(" ", "_"): counts[state] for state in LABELS},
    }
    click.echo(json.dumps(document, indent=2))


def print_report(verdicts: Sequence[Verdict], *, console: Console | None = None) -> None:
    """A line for each check, with the evidence and the fix: the faults first, then the warnings; and a last line that
    counts.
    """
    console = console or Console(highlight=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in sorted(verdicts, key=_rank):
        said = Text.assemble((verdict.check, "bold"), f": {plain(verdict.evidence, LONGEST_TEXT)}")
        if verdict.fix:
            lines = [plain(line, LONGEST_TEXT) for line in _NEXT_LINE.split(verdict.fix)]
            said.append("\nfix: " + "\n".join(lines), style="cyan")
        table.add_row(Text(LABELS[verdict.state], STYLES[verdict.state]), said)
    if console.width < LEAST_WIDTH:
        console.width = LEAST_WIDTH
    for told in (table, Text(sum_up(verdicts))):
        console.print(Segments(_without_padding(console, told)), end="")


def _rank(verdict: Verdict) -> int:
    return ORDER.index(verdict.state) if verdict.state in ORDER else len(ORDER)


def _without_padding(console: Console, told: Table | Text) -> Iterator[Segment]:
    """It without the blanks that its lines end with, which would be copied and searched with them."""
    for line in console.render_lines(told):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            last = line.pop()
            yield from (*line, Segment(last.text.rstrip(), last.style))
        yield Segment.line()


def sum_up(verdicts: Sequence[Verdict]) -> str:
    """The last line. What is faulty, or to be warned of, is named there."""
    counts = Counter(verdict.state for verdict in verdicts)
    parts = []
    for state in ORDER:
        if counts[state]:
            names = dict.fromkeys(plain(verdict.check) for verdict in verdicts if verdict.state == state)
            called = PLURALS[state] if counts[state] != 1 else state
            parts.append(f"{counts[state]} {called}: {', '.join(names)}")
    if not counts["fault"]:
        parts.insert(0, "No fault" if parts else "No fault found")
    rest = ", ".join(f"{counts[state]} {state}" for state in LABELS if state not in ORDER)
    return "; ".join([*parts, rest])
