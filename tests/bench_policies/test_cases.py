"""Runs by their parameters: each once, in the order asked for, the same in one process and in two."""

import pytest
from bench.policies.cases import Case, Runs, capacity, load_workload, run_case
from bench.results import BenchError

CASES = [Case("r2", name, 0.8, 150) for name in ("round robin", "ours, detach")]


@pytest.mark.parametrize("processes", [1, 2])
def test_figures_come_in_the_order_asked_for(processes: int) -> None:
    asked = [*CASES, CASES[0]]
    assert list(Runs(processes).play(asked)) == [(case, run_case(case)) for case in asked]


def test_nothing_is_played_twice() -> None:
    runs = Runs(1)
    [(_, first)] = runs.play(CASES[:1])
    again = dict(runs.play(CASES))
    assert again[CASES[0]] is first


def test_the_load_is_a_share_of_the_capacity() -> None:
    jobs = load_workload("r2", 150).at_rate(0.5 * capacity(CASES[0]))
    rate = len(jobs) / jobs[-1].arrived_s
    assert rate == pytest.approx(0.5 * capacity(CASES[0]), rel=0.25)


def test_a_name_that_is_no_workload_is_taken_for_a_file() -> None:
    with pytest.raises((BenchError, OSError)):
        run_case(Case("nonsense", "round robin", 0.8, 10))
