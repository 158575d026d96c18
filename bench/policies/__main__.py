"""Judges routing policies: `python -m bench.policies try r2 --policy "ours, detach"`."""

import asyncio
import time
from pathlib import Path

import click

from bench.policies import goals, report
from bench.policies.capacity import joined_hit_ratio
from bench.policies.cases import EVEN_SPEEDS, MIXED_SPEEDS, Case, Runs, capacity, load_workload
from bench.policies.catalogue import POLICIES
from bench.policies.costs import CARDS
from bench.policies.plot import draw
from bench.results import Result

DOCUMENT = Path("docs/scheduling.md")
PLOT = Path("docs/images/scheduling.png")


@click.group()
def main() -> None:
    """Routing policies on simulated engines."""


@main.command("try")
@click.argument("workload")
@click.option("--policy", "policies", multiple=True, type=click.Choice(list(POLICIES)), help="All by default.")
@click.option("--load", default=0.8, show_default=True, help="Share of the capacity.")
@click.option("--size", default=3_000, show_default=True, help="Requests.")
@click.option("--card", default="A100", type=click.Choice(list(CARDS)), show_default=True)
@click.option("--replicas", default=1, show_default=True, help="Pickers that share nothing.")
@click.option("--processes", default=1, show_default=True)
def try_(
    workload: str, policies: tuple[str, ...], load: float, size: int, card: str, replicas: int, processes: int
) -> None:
    """Play WORKLOAD (r2, r3, chat, or the path of a trace) by one or more policies and print the figures."""
    speeds = MIXED_SPEEDS if workload == "r3" else EVEN_SPEEDS
    cases = [Case(workload, name, load, size, card, replicas, speeds) for name in policies or tuple(POLICIES)]
    joined = joined_hit_ratio(load_workload(workload, size).jobs, CARDS[card], len(speeds))
    click.echo(f"capacity {capacity(cases[0]):.2f} requests/s; the joined cache finds {joined:.3f} of the tokens")
    click.echo(f"{'':16}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}{'hits':>8}{'done/s':>8}{'preempt':>9}{'refused':>9}")
    began = time.perf_counter()
    for case, figures in Runs(processes).play(cases):
        click.echo(
            f"{case.policy:16}{figures.p50_s * 1e3:>10.1f}{figures.p90_s * 1e3:>10.1f}{figures.p99_s * 1e3:>10.1f}"
            f"{figures.hit_ratio:>8.3f}{figures.completed_per_s:>8.2f}{figures.preemptions:>9}{figures.refused:>9}"
        )
    click.echo(f"{time.perf_counter() - began:.1f} s")


@main.command()
@click.option("--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A trace file, for R6.")
@click.option("--write", is_flag=True, help="Into docs/scheduling.md, with its plot.")
def table(trace: Path | None, write: bool) -> None:
    """Play every workload by every policy; print the goals and a table for each, in Markdown."""
    runs = Runs()
    played = []
    parts = []
    for each in report.play(report.sections(trace), runs):
        played.append(each)
        parts.append(report.write_section(each))
        click.echo(parts[-1], err=write)
    parts.insert(0, report.write_goals(asyncio.run(_collect(trace, runs))))
    click.echo(parts[0], err=write)
    if write:
        draw(
            [each for each in played if each.section.in_plot], [PLOT.with_suffix(suffix) for suffix in (".png", ".svg")]
        )
        document = DOCUMENT.read_text() if DOCUMENT.exists() else ""
        DOCUMENT.write_text(report.insert(document, "\n".join(parts)))


async def _collect(trace: Path | None, runs: Runs) -> list[Result]:
    lines = (goals.run_r1(), goals.run_r2(runs), goals.run_r3(runs), goals.run_r4(runs), goals.run_r5())
    return [each for line in (*lines, goals.run_r6(trace, runs), goals.run_shedding()) async for each in line]


if __name__ == "__main__":
    main(prog_name="python -m bench.policies")
