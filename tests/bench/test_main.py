"""What `python -m bench` prints at its end, and how it ends."""

from collections.abc import AsyncIterator

import click
import pytest
from bench.__main__ import run_named
from bench.results import BenchError, Result


async def goal() -> AsyncIterator[Result]:
    yield Result(name="P1 it", figure="1", goal="≥ 2", is_ok=False)
    yield Result(name="   explained", figure="3")


async def broken() -> AsyncIterator[Result]:
    yield Result(name="P2 it", figure="1", is_ok=True)
    raise ExceptionGroup("tasks", [BenchError("an answer was wrong")])


async def other() -> AsyncIterator[Result]:
    yield Result(name="other", figure="1", is_ok=True)


BENCHMARKS = {"p1": goal, "p2": broken, "scan": other}


@pytest.mark.parametrize(
    ("names", "times"),
    [
        pytest.param(("p1", "scan"), {"P1 it": 2, "explained": 1, "other": 1}, id="goals-once-more"),
        pytest.param(("p1",), {"P1 it": 1, "explained": 1}, id="one-needs-no-table"),
    ],
)
def test_the_goals_are_printed_together_at_the_end(
    names: tuple[str, ...], times: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    run_named(names, BENCHMARKS)
    printed = capsys.readouterr().out
    assert {name: printed.count(name) for name in times} == times


def test_what_cannot_be_measured_is_told_without_a_traceback() -> None:
    with pytest.raises(click.ClickException, match=r"^an answer was wrong$"):
        run_named(("p2",), BENCHMARKS)
