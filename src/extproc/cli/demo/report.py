"""What the demo writes: its progress, the one table, the commands to go on with."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from extproc.cli.demo import ports as port_names
from extproc.cli.demo.client import MOST_RETRIES, Outcome
from extproc.cli.demo.figures import Figure, Part
from extproc.cli.demo.fleet import PHI

_SHOWN_FAILURES = 5


@contextmanager
def step(console: Console, text: str, *, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Shows a step while it runs, with a bar where `total` says how many times the result will be called.

    Leaves one line with the time it took; nothing when it failed.
    """
    began_at_s = time.monotonic()
    columns = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns += [BarColumn(bar_width=20), MofNCompleteColumn()]
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
    console.print(f"  {text:<64} {time.monotonic() - began_at_s:6.1f} s", highlight=False)


def table(parts: Sequence[Part]) -> Table:
    """The one table, 80 columns wide whatever the terminal is: narrower it would leave out columns."""
    result = Table(
        width=80,
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"no picker: clients retry a 404 at once (no 2 s pause), {MOST_RETRIES} times at most",
        caption_justify="left",
    )
    result.add_column("", min_width=36)
    for name, yardstick in (("no picker", "typical"), ("extproc", "goal")):
        result.add_column(name, justify="right", min_width=9, no_wrap=True)
        result.add_column(yardstick, justify="right", style="dim", min_width=6, no_wrap=True)
    for part in parts:
        result.add_row(f"[bold]{escape(part.title)}[/]")
        for row in part.rows:
            result.add_row(f"  {escape(row.label)}", *_cells(row.alone, good=" "), *_cells(row.picked))
        result.add_section()
    return result


def print_failures(console: Console, failures: Sequence[Outcome]) -> None:
    """A line on each of the first failures."""
    for outcome in failures[:_SHOWN_FAILURES]:
        what = f"{outcome.model}: status {outcome.status or 'none'} from {outcome.served_by or 'the gateway'}"
        text = f"✗ {what}, {outcome.error or 'cut'}"
        console.print(text, style="red", markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    if len(failures) > _SHOWN_FAILURES:
        console.print(f"✗ … and {len(failures) - _SHOWN_FAILURES} more", style="red", markup=False)


def print_commands(console: Console, ports: Mapping[str, int]) -> None:
    """Commands that are ready to be copied, for as long as the demo is kept."""
    gateway, grpc, health = (ports[name] for name in (port_names.GATEWAY, port_names.EXT_PROC, port_names.HEALTH))
    body = f'{{"model": "{PHI}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    extproc = _own_command()
    lines = [
        "Everything stays up until Ctrl-C. In another terminal:",
        "",
        f"curl -s http://127.0.0.1:{gateway}/v1/models",
        f"curl -si http://127.0.0.1:{gateway}/v1/chat/completions -H 'content-type: application/json' -d '{body}'",
        f"{extproc} probe --target 127.0.0.1:{grpc} --model {PHI}",
        f"grpcurl -plaintext 127.0.0.1:{grpc} list",
        f'grpcurl -plaintext -d \'{{"service": "readiness"}}\' 127.0.0.1:{health} grpc.health.v1.Health/Check',
        f"curl -s http://127.0.0.1:{ports[port_names.METRICS]}/metrics",
        f"curl -s http://127.0.0.1:{ports[port_names.ENVOY_ADMIN]}/clusters",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cells(figure: Figure | None, good: str = "[green]✓[/]") -> tuple[str, str]:
    """The texts of a figure. Where Envoy alone fails as it does, no tick stands beside: it is expected, not good."""
    if figure is None:
        return "", ""
    mark = good if figure.is_right else "[red]✗[/]"
    return f"{escape(figure.text)} {mark}", escape(figure.goal)


def _own_command() -> str:
    """How to call this very program: as it was called where that was by a path, for it may not be on PATH."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "extproc" and called.exists() else f"{sys.executable} -m extproc"
