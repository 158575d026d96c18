"""What `extproc top` shows of a pool at one moment, as lines that fit a terminal."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.top.tables import decision_lines, endpoint_lines, state_of, wrap
from extproc.cli.wording import LONGEST_ERROR, plain, show_age
from extproc.values.refusal import REFUSALS

REFUSAL_CODES = frozenset(refusal.code for refusal in REFUSALS.values())
DECIDED = REFUSAL_CODES | {"routed", "replied"}
"""Outcomes of requests that were decided on. The others ended before."""

LEAST_DECISIONS = 4
MOST_WARNINGS = 4
WARNING_SHARE = 3
"""What is wrong with more than one endpoint takes a third of the lines at most, or a line each where that is more."""


class Frame(NamedTuple):
    """What is to be shown."""

    target: str
    snapshot: admin_pb2.Snapshot | None
    """The last one that came, None while none has."""
    decisions_per_s: float | None = None
    """Since the one before it; None: since the picker's start."""
    error: str = ""
    """Why the last question was not answered, empty where it was."""
    silent_s: float = 0.0
    """Since the last answer, or since the first question."""


def render(frame: Frame, *, width: int, height: int) -> Group:
    """The frame in at most `height` lines, ten at least, of at most `width` cells. What is wrong is wrapped."""
    snapshot, most = frame.snapshot, max(1, height // WARNING_SHARE)
    if snapshot is None:
        return Group(*_silence_of(frame) or [Text(f"asking {plain(frame.target)} …")])
    silence = _wrap(_silence_of(frame), width, most)
    warnings = _wrap(_warnings_of(snapshot), width, most - len(silence))
    head = [*silence, *_head_of(snapshot, frame.decisions_per_s), *warnings, Text()]
    rest = height - len(head) - 3  # titles of both tables and a line between
    decisions = list(snapshot.decisions)[: max(LEAST_DECISIONS, rest // 3)]
    body = [*endpoint_lines(snapshot, width, max(1, rest - max(1, len(decisions)))), Text()]
    lines = [_fit(line, width) for line in (*head, *body, *decision_lines(decisions, width))]
    if silence:
        for line in lines[len(silence) :]:
            line.stylize("dim")
    return Group(*lines)


def _silence_of(frame: Frame) -> list[Text]:
    if not frame.error:
        return []
    return [Text(f"no answer since {show_age(frame.silent_s)}: {plain(frame.error, LONGEST_ERROR)}", "bold red")]


def _head_of(snapshot: admin_pb2.Snapshot, per_s: float | None) -> Iterator[Text]:
    ready = sum(state_of(each)[0] == "ready" for each in snapshot.endpoints)
    is_whole = ready == len(snapshot.endpoints) > 0
    yield Text.assemble(
        (plain(snapshot.pool), "bold"),
        "   ",
        ("ready", "green") if snapshot.is_ready else ("not ready", "bold red"),
        "   ",
        (f"endpoints {ready}/{len(snapshot.endpoints)} ready", "" if is_whole else "yellow"),
        f"   models {len(snapshot.models)}",
        f"   up {show_age(snapshot.uptime_s)}",
    )
    counts = _decided_by_outcome(snapshot)
    decided = sum(counts.values())
    rate = f"{per_s:.1f} decisions/s" if per_s is not None else f"{decided} decisions since its start"
    streams = f"{snapshot.open_streams} streams"
    yield Text(f"snapshot {snapshot.version}, {show_age(snapshot.age_s)} old   {streams}   {rate}")
    refusals = [(code, count) for code, count in counts.items() if code in REFUSAL_CODES]
    told = ", ".join(f"{code} {count}" for code, count in sorted(refusals, key=lambda each: -each[1]))
    yield Text(f"refused: {told or 'none'}", "yellow" if told else "")


def count_decided(snapshot: admin_pb2.Snapshot) -> int:
    """Requests that were decided on since the picker's start."""
    return sum(_decided_by_outcome(snapshot).values())


def _decided_by_outcome(snapshot: admin_pb2.Snapshot) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in snapshot.outcomes:
        if each.outcome in DECIDED:
            counts[each.outcome] = counts.get(each.outcome, 0) + each.requests
    return counts


def _warnings_of(snapshot: admin_pb2.Snapshot) -> list[Text]:
    """What is wrong with more than one endpoint."""
    warnings = []
    for source in snapshot.sources:
        age = f", last read {show_age(source.age_s)} ago" if source.HasField("age_s") else ""
        if not source.is_connected:
            warnings.append(Text(f"source {plain(source.name)} is not connected{age}", "bold red"))
        warnings.extend(_warning(f"source {plain(source.name)}", problem) for problem in source.problems)
    if not snapshot.is_synced and not warnings:
        warnings.append(Text("the pool has not been read yet", "yellow"))
    file = snapshot.config_file
    warnings.extend(_warning(plain(file.path), problem) for problem in file.problems)
    if idle := [plain(model.id) for model in snapshot.models if not model.endpoints]:
        warnings.append(Text(f"no ready endpoint for: {', '.join(idle)}", "bold red"))
    if len(warnings) > MOST_WARNINGS:
        left_out = len(warnings) - MOST_WARNINGS + 1
        warnings[MOST_WARNINGS - 1 :] = [Text(f"… and {left_out} more problems: see extproc doctor", "red")]
    return warnings


def _warning(of: str, problem: str) -> Text:
    return Text(f"{of}: {plain(problem, LONGEST_ERROR)}", "red")


def _wrap(texts: list[Text], width: int, most: int) -> list[Text]:
    """The lines of each: at most `most` of all, but one of each."""
    lines: list[Text] = []
    for index, text in enumerate(texts):
        for_others = len(texts) - index - 1
        lines += wrap(text, width, most=max(1, most - len(lines) - for_others))
    return lines


def _fit(line: Text, width: int) -> Text:
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    return line
