"""Runs the benchmarks that are named, all by default, and prints the machine and one line per figure."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import click

from bench import (
    guard,
    p1_throughput,
    p2_latency,
    p3_decision,
    p4_bodies,
    p5_messages,
    p6_idle,
    policies_e2e,
    pool_size,
    prefix_index,
    scan,
    slow_uploads,
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
    "scan": scan.run,
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
ON_DEMAND: dict[str, Callable[[], AsyncIterator[Result]]] = {"guard": guard.run}
"""Run only where they are named."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *ON_DEMAND]))
@click.option("--trace", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="For r6: a trace file.")
@click.option("--base", help="For guard: the git revision to compare with; by default the newest tag.")
def main(names: tuple[str, ...], trace: Path | None, base: str | None) -> None:
    """Run the benchmarks NAMES, all of them by default.

    A goal that is missed is printed as `short` and is no failure; the exit code is 1 where nothing could be measured.
    """
    try:
        given = {"r6": lambda: goals.run_r6(trace), "guard": lambda: guard.run(base)}
        asyncio.run(_run(names or tuple(BENCHMARKS), BENCHMARKS | ON_DEMAND | given))
    except BenchError as exc:
        raise click.ClickException(str(exc)) from exc


async def _run(names: tuple[str, ...], benchmarks: Mapping[str, Callable[[], AsyncIterator[Result]]]) -> None:
    click.echo(f"{describe_machine()}\n{HEADER}")
    for name in names:
        async for result in benchmarks[name]():
            click.echo(str(result))


if __name__ == "__main__":
    main(prog_name="python -m bench")
