"""Runs the benchmarks that are named, all by default, and prints the machine and one line per figure."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import click

from bench import p1_throughput, p2_latency, p3_decision, p4_bodies, p5_messages, pool_size, slow_uploads
from bench.machine import describe_machine
from bench.results import HEADER, BenchError, Result

BENCHMARKS: Mapping[str, Callable[[], AsyncIterator[Result]]] = {
    "p1": p1_throughput.run,
    "p2": p2_latency.run,
    "p3": p3_decision.run,
    "p4": p4_bodies.run,
    "p5": p5_messages.run,
    "p-slow": slow_uploads.run,
    "p-pods": pool_size.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
def main(names: tuple[str, ...]) -> None:
    """Run the benchmarks NAMES, all of them by default.

    A goal that is missed is printed as `short` and is no failure; the exit code is 1 where nothing could be measured.
    """
    try:
        asyncio.run(_run(names or tuple(BENCHMARKS)))
    except BenchError as exc:
        raise click.ClickException(str(exc)) from exc


async def _run(names: tuple[str, ...]) -> None:
    click.echo(f"{describe_machine()}\n{HEADER}")
    for name in names:
        async for result in BENCHMARKS[name]():
            click.echo(str(result))


if __name__ == "__main__":
    main(prog_name="python -m bench")
