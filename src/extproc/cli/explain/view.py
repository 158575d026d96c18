"""An explanation as a person reads it, on 80 columns; where no terminal shows it, nothing is wrapped."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc._gen.extproc.admin.v1 import admin_pb2
from extproc.cli.wording import count, plain, tell_age

SHOWN_OTHERS = 10
"""Endpoints that were not compared; of more, the rest is counted."""
SHOWN_BODY = 2000
LONGEST_NAME = 60
LONGEST_SENTENCE = 2000
WITHOUT_END = 1_000_000
"""Columns of what is no terminal: a line break of ours would keep a search or a copy from finding a text."""


def show_explanation(told: admin_pb2.Explanation, *, asked: str, console: Console) -> None:
    """Prints it. `asked`: method and path, for a request that names no model."""
    if console.is_terminal:
        _show(told, asked, console)
        return
    console.width = WITHOUT_END
    with console.capture() as captured:
        _show(told, asked, console)
    for line in captured.get().rstrip("\n").split("\n"):
        console.out(line.rstrip(), highlight=False)


def _show(told: admin_pb2.Explanation, asked: str, console: Console) -> None:
    console.print(_headline(told, asked))
    console.print(Text(plain(told.why, LONGEST_SENTENCE)))
    console.print(Text(_circumstances(told), style="dim"))
    if told.HasField("answer"):
        console.print(_answer(told.answer), soft_wrap=True)
    compared = [each for each in told.candidates if each.scores]
    others = [each for each in told.candidates if not each.scores and each.verdicts]
    every = count(len(told.candidates), "endpoint")
    if compared:
        console.print(Text(f"\n{len(compared)} of {every} compared, by {plain(told.picker)}", style="bold"))
        console.print(_compared(told, compared))
    if others:
        console.print(Text(f"\n{len(others):,} of {every} not compared", style="bold"))
        console.print(_others(others[:SHOWN_OTHERS]))
        if len(others) > SHOWN_OTHERS:
            console.print(Text(_rest(others[SHOWN_OTHERS:])))


def _headline(told: admin_pb2.Explanation, asked: str) -> Text:
    named = plain(told.named_model, LONGEST_NAME) or plain(asked, LONGEST_NAME)
    if told.model not in ("", told.named_model):
        named = f"{named} (as {plain(told.model, LONGEST_NAME)})"
    if told.outcome == "routed":
        where = f"{plain(told.endpoint, LONGEST_NAME)} at {plain(told.destination)}"
        return Text.assemble(named, " → ", (where, "bold green"))
    if told.outcome == "replied":
        return Text.assemble(named, " → ", (f"{told.answer.status} answered by the picker", "bold green"))
    return Text.assemble(named, " → ", (f"{told.answer.status} {plain(told.outcome)}", "bold red"))


def _circumstances(told: admin_pb2.Explanation) -> str:
    parts = [f"pool {plain(told.pool)}", f"snapshot {told.snapshot_version}, {tell_age(told.snapshot_age_s)} old"]
    if told.prompt_tokens:
        parts.append(f"prompt of about {told.prompt_tokens:,.0f} tokens")
    return " · ".join(parts)


def _answer(answer: admin_pb2.Answer) -> Text:
    lines = ["", f"the client gets {answer.status}"]
    lines += [f"{plain(name)}: {plain(value)}" for name, value in sorted(answer.headers.items())]
    lines.append(plain(answer.body.decode(errors="replace"), SHOWN_BODY))
    return Text("\n".join(lines))


def _compared(told: admin_pb2.Explanation, rows: Sequence[admin_pb2.Candidate]) -> Table:
    has_cached = any(row.cached_tokens for row in rows)
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("endpoint", overflow="fold", min_width=12)
    for scorer in told.scorers:
        name = Text(f"{plain(scorer.name)} × {scorer.weight:g}")
        table.add_column(name, justify="right", overflow="fold", min_width=5)
    table.add_column("sum", justify="right", no_wrap=True)
    if has_cached:
        table.add_column("cached tokens", justify="right")
    for row in rows:
        cells = [str(row.choice or ""), plain(row.name), *[f"{score:.3f}" for score in row.scores], f"{row.total:.3f}"]
        if has_cached:
            cells.append(f"{row.cached_tokens:,.0f}")
        table.add_row(*map(Text, cells), style="green" if row.choice == 1 else None)
    return table


def _others(rows: Sequence[admin_pb2.Candidate]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("endpoint", overflow="fold", min_width=12)
    table.add_column("address", overflow="fold")
    table.add_column("kept out by", no_wrap=True)
    table.add_column("", overflow="fold", min_width=20)
    for row in rows:
        no = _obstacle(row)
        table.add_row(*map(Text, (plain(row.name), plain(row.address), plain(no.filter), plain(no.why))))
    return table


def _rest(rows: Sequence[admin_pb2.Candidate]) -> str:
    """How many more there are, by what keeps them from the request."""
    counts = Counter(_obstacle(row).filter for row in rows)
    return f"… and {len(rows):,} more: " + ", ".join(
        f"{plain(name)} {number:,}" for name, number in counts.most_common()
    )


def _obstacle(row: admin_pb2.Candidate) -> admin_pb2.Verdict:
    return next((verdict for verdict in row.verdicts if not verdict.allows), admin_pb2.Verdict())
