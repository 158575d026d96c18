"""Runs the benchmarks that are named, all by default; prints the machine, a line a figure, and the goals in a table."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import click

from bench import (
    capacity,
    chunks,
    flame,
    guard,
    more_cores,
    p1_throughput,
    p2_latency,
    p3_decision,
    p4_bodies,
    p5_messages,
    p6_idle,
    p7_memory,
    p8_start,
    p9_readiness,
    policies_e2e,
    pool_size,
    prefix_index,
    scan,
    slow_uploads,
    soak,
)
from bench.machine import describe_machine
from bench.policies import goals
from bench.results import HEADER, BenchError, Result

BENCHMARKS: dict[str, Callable[[], AsyncIterator[Result]]] = {
    "p1": p1_throughput.run,
    "p2": p2_latency.run,
    "p3": p3_decision.run,
    "p4": p4_bodies.run,
    "p5": p5_messages.run,
    "p6": p6_idle.run,
    "p7": p7_memory.run,
    "p8": p8_start.run,
    "p9": p9_readiness.run,
    "chunks": chunks.run,
    "capacity": capacity.run,
    "scan": scan.run,
    "cores": more_cores.run,
    "p-slow": slow_uploads.run,
    "p-pods": pool_size.run,
    "prefix-index": prefix_index.run,
    "r1": goals.run_r1,
    "r2": goals.run_r2,
    "r3": goals.run_r3,
    "r4": goals.run_r4,
    "r5": goals.run_r5,
    "r6": goals.run_r6,
    "r-shed": goals.run_shedding,
    "r-e2e": policies_e2e.run,
}
ON_DEMAND: dict[str, Callable[[], AsyncIterator[Result]]] = {"guard": guard.run, "soak": soak.run, "flame": flame.run}
"""Run only where they are named."""
GOALS = tuple(f"p{number}" for number in range(1, 10))
"""Those whose goals are printed once more at the end, together."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *ON_DEMAND]))
@click.option("--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For r6: a trace file.")
@click.option("--base", help="For guard: the git revision to compare with; by default the newest tag before this.")
@click.option("--minutes", type=click.IntRange(min=soak.LEAST_MINUTES), default=soak.MINUTES, help="For soak.")
def main(names: tuple[str, ...], trace: Path | None, base: str | None, minutes: int) -> None:
    """Run the benchmarks NAMES, all of them by default.

    A goal that is missed is printed as `short` and is no failure; the exit code is 1 where nothing could be measured.
    """
    given = {
        "r6": lambda: goals.run_r6(trace),
        "guard": lambda: guard.run(base),
        "soak": lambda: soak.run(minutes),
    }
    run_named(names or tuple(BENCHMARKS), BENCHMARKS | ON_DEMAND | given)


def run_named(names: Sequence[str], benchmarks: Mapping[str, Callable[[], AsyncIterator[Result]]]) -> None:
    """Runs these of the benchmarks. Errors: ClickException where one could not measure anything."""
    problems: list[BenchError] = []
    try:
        asyncio.run(_run(names, benchmarks))
    except* BenchError as group:
        problems = _leaves(group)
    if problems:  # raised in there, it would come in a group itself
        raise click.ClickException("\n".join(map(str, problems)))


async def _run(names: Sequence[str], benchmarks: Mapping[str, Callable[[], AsyncIterator[Result]]]) -> None:
    click.echo(f"{describe_machine()}\n{HEADER}")
    judged = []
    for name in names:
        async for result in benchmarks[name]():
            click.echo(str(result))
            if name in GOALS and result.is_ok is not None:
                judged.append(result)
    if judged and len(names) > 1:
        click.echo("\n".join(["", HEADER, *map(str, judged)]))


def _leaves(group: BaseExceptionGroup[BenchError]) -> list[BenchError]:
    """What was raised, in a group of tasks or not."""
    found: list[BenchError] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


if __name__ == "__main__":
    main(prog_name="python -m bench")
