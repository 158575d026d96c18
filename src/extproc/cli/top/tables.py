"""The tables of `extproc top`: endpoints and decisions, a line each."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.wording import plain, show_age

UNKNOWN = "-"
INDENT = 2
"""Before a problem, and before the further lines of a text that needs more than one."""


class _Column(NamedTuple):
    title: str
    width: int
    is_number: bool = False


Cell = tuple[str, str]
"""A text and its style."""


def state_of(endpoint: admin_pb2.Endpoint) -> tuple[str, str, int]:
    """In a word, with its style and how bad it is."""
    if not endpoint.is_ready:
        return "not ready", "bold red", 3
    if not endpoint.is_confirmed:
        return "unconfirmed", "yellow", 1
    if not endpoint.models:
        return "no models", "bold red", 2
    if endpoint.is_suspect:
        return "suspect", "bold red", 2
    return "ready", "green", 0


def _problem_of(endpoint: admin_pb2.Endpoint) -> str:
    problems = [endpoint.problem] if endpoint.problem else []
    if endpoint.load_problem and endpoint.load_problem != endpoint.problem:
        problems.append(f"metrics: {endpoint.load_problem}")
    return plain("; ".join(problems))


def endpoint_lines(snapshot: admin_pb2.Snapshot, width: int, most: int) -> Iterator[Text]:
    """The title and at most so many further lines. The worst endpoints come first, each with its problem below: whole
    where there is room for all of them, else on one line.
    """
    has_open = any(each.HasField("in_flight") for each in snapshot.endpoints)
    numbers = [("WAIT", 5), ("RUN", 5), ("KV", 4), *([("OPEN", 5)] if has_open else []), ("AGE", 5)]
    rest = width - 11 - sum(size for _, size in numbers) - len(numbers) - 2
    columns = [
        _Column("ENDPOINT", max(8, rest - rest // 2)),
        _Column("MODELS", max(6, rest // 2)),
        _Column("STATE", 11),
        *[_Column(title, size, is_number=True) for title, size in numbers],
    ]
    yield _row([(column.title, "bold") for column in columns], columns)
    if not snapshot.endpoints:
        yield Text("the pool has no endpoints", "yellow")
        return
    order = sorted(snapshot.endpoints, key=_badness)
    if len(order) > most:
        order.sort(key=lambda each: (*_badness(each)[:2], -each.load.waiting, -each.load.kv_used_ratio))
    left, shown = most, 0
    for endpoint, problem in zip(order, _problem_lines(order, width, most), strict=True):
        needed = 1 + len(problem)
        is_last = shown == len(order) - 1
        if shown and needed + (0 if is_last else 1) > left:
            yield Text(f"… and {len(order) - shown} more endpoints", "dim")
            return
        yield _row(_cells_of(endpoint, has_open, columns), columns)
        yield from problem
        left, shown = left - needed, shown + 1


def _problem_lines(order: Sequence[admin_pb2.Endpoint], width: int, most: int) -> list[list[Text]]:
    problems = [_problem_of(endpoint) for endpoint in order]
    short = [[Text(f"{' ' * INDENT}{problem}", "red")] if problem else [] for problem in problems]
    if len(order) + sum(map(len, short)) > most:
        return short
    whole = [[line for text in texts for line in wrap(text, width, most=most)] for texts in short]
    return whole if len(order) + sum(map(len, whole)) <= most else short


def _badness(endpoint: admin_pb2.Endpoint) -> tuple[int, bool, str, str]:
    """Sorts the worst to the top."""
    return -state_of(endpoint)[2], not _problem_of(endpoint), endpoint.name, endpoint.id


def _cells_of(endpoint: admin_pb2.Endpoint, has_open: bool, columns: Sequence[_Column]) -> list[Cell]:
    load, (state, style, _) = endpoint.load, state_of(endpoint)
    is_told = endpoint.HasField("load")
    cells = [
        (_shorten(plain(endpoint.name), columns[0].width), ""),
        (plain(", ".join(endpoint.models)) or UNKNOWN, ""),
        (state, style),
        (f"{load.waiting:.0f}" if is_told and load.HasField("waiting") else UNKNOWN, ""),
        (f"{load.running:.0f}" if is_told and load.HasField("running") else UNKNOWN, ""),
        (f"{load.kv_used_ratio:.0%}" if is_told and load.HasField("kv_used_ratio") else UNKNOWN, ""),
    ]
    if has_open:
        cells.append((str(endpoint.in_flight) if endpoint.HasField("in_flight") else UNKNOWN, ""))
    cells.append((show_age(endpoint.probe_age_s) if endpoint.HasField("probe_age_s") else UNKNOWN, ""))
    return cells


def decision_lines(decisions: Sequence[admin_pb2.DecisionEvent], width: int) -> Iterator[Text]:
    rest = max(12, width - 8 - 18 - 7 - 4)
    columns = [
        _Column("TIME", 8),
        _Column("MODEL", rest // 2),
        _Column("OUTCOME", 18),
        _Column("WHERE", rest - rest // 2),
        _Column("MS", 7, is_number=True),
    ]
    yield _row([(column.title, "bold") for column in columns], columns)
    if not decisions:
        yield Text("no decisions yet")
    for each in decisions:
        is_refused = bool(each.reason)
        where = plain(each.endpoint or each.reason or each.path)
        cells = [
            (time.strftime("%H:%M:%S", time.localtime(each.at_unix_s)), ""),
            (plain(each.named_model or each.model) or UNKNOWN, ""),
            (plain(each.outcome), "yellow" if is_refused else ""),
            (_shorten(where, columns[3].width), ""),
            (f"{each.seconds * 1000:.1f}", ""),
        ]
        yield _row(cells, columns)


def wrap(text: Text, width: int, *, most: int) -> list[Text]:
    """Its lines, the second and further ones indented. Where they are more than `most`, the rest is cut."""
    if most == 1 or text.cell_len <= width:
        return [text]
    lines = list(text.wrap(Console(width=width), width - INDENT - 1, overflow="fold"))
    if len(lines) > most:
        del lines[most:]
        lines[-1].rstrip()
        lines[-1].append("…")
    return [lines[0], *(Text(" " * INDENT, line.style).append_text(line) for line in lines[1:])]


def _row(cells: Sequence[Cell], columns: Sequence[_Column]) -> Text:
    line = Text()
    for (text, style), column in zip(cells, columns, strict=True):
        if cell_len(text) > column.width:
            text = set_cell_size(text, column.width - 1) + "…"
        padding = " " * (column.width - cell_len(text))
        line.append(padding + text if column.is_number else text + padding, style)
        line.append(" ")
    line.rstrip()
    return line


def _shorten(text: str, width: int) -> str:
    """Of a name that is too long the end counts as much as the beginning: it tells the pods of a Deployment apart."""
    if cell_len(text) <= width or not text.isascii():
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[-tail:]}"
