"""The table: the same each time, honest where ours loses, and put where it belongs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from bench.policies.cases import Case, Runs
from bench.policies.figures import Figures, measure, quantile
from bench.policies.goals import run_r2, run_r3, run_r4
from bench.policies.policies import RoundRobin
from bench.policies.replay import Fleet, Replay
from bench.policies.report import BEGIN, END, Played, insert, play, sections, write_goals, write_section
from bench.policies.workloads import WORKLOADS
from bench.results import Result
from tests.bench_policies.jobs import SMALL, make_traffic

FIGURES = Figures(100, 0.1, 0.2, 0.3, 0.9, 10.0, 0, 0, 0)


def table() -> str:
    found = sections(None, size=80, policies=("round robin", "weighted sum", "ours, detach", "ours, track", "oracle"))
    return "\n".join([write_section(each) for each in play(found, Runs(1))])


def test_the_same_seed_gives_the_same_table() -> None:
    assert table() == table()


@pytest.mark.parametrize(
    ("ours_s", "said"),
    [
        pytest.param(0.1, "ours, detach: 0.50 of the p90 of round robin", id="ahead"),
        pytest.param(0.4, "**ours, detach loses to round robin (0.50 of its p90).**", id="behind"),
    ],
)
def test_the_table_says_where_ours_loses(ours_s: float, said: str) -> None:
    section = sections(None, size=80, policies=("round robin", "ours, detach", "oracle"))[0]
    faster = Figures(100, 0.01, 0.05, 0.3, 0.9, 10.0, 0, 0, 0)
    ours = Figures(100, 0.1, ours_s, 0.3, 0.9, 10.0, 0, 0, 0)
    played = Played(section, {"round robin": FIGURES, "ours, detach": ours, "oracle": faster}, 50.0, 0.9)
    assert said in write_section(played)


def test_results_replace_those_before_and_nothing_else() -> None:
    document = f"# Scheduling\n\n{BEGIN}\nold\n{END}\n\n## After\n"
    assert insert(document, "new\n") == f"# Scheduling\n\n{BEGIN}\nnew\n{END}\n\n## After\n"


def test_a_document_without_a_place_gets_one() -> None:
    once = insert("# Scheduling\n", "new")
    assert once == f"# Scheduling\n\n{BEGIN}\nnew\n{END}\n"
    assert insert(once, "newer") == once.replace("new", "newer")


def test_a_goal_that_is_missed_is_short() -> None:
    missed = Result(name="R9", figure="3", goal="≤ 2", is_ok=False)
    assert "| R9 | 3 |  |  | ≤ 2 | **short** |" in write_goals([missed])


class Fixed(Runs):
    """Known figures: ours half as soon as all others, and half of the hits where there are replicas."""

    def play(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Figures]]:
        for case in cases:
            wait_s = 0.11 if case.policy.startswith("ours") else 0.2
            yield case, msgspec.structs.replace(FIGURES, p90_s=wait_s, hit_ratio=0.9 / min(2, case.replicas))


async def test_a_goal_is_judged_from_its_runs() -> None:
    hits = [(line.ratio, line.is_ok) async for line in run_r4(Fixed())]
    assert hits == [("0.50", False), ("0.50", False)]
    waits = [(line.ratio, line.is_ok) async for line in run_r2(Fixed())]
    assert waits == 2 * [("0.55", False), ("0.55", True), ("1.00", False)]
    assert {(line.ratio, line.is_ok) async for line in run_r3(Fixed())} == {("0.55", True)}


def test_the_plot_is_drawn_the_same_each_time(tmp_path: Path) -> None:
    from bench.policies.plot import draw

    section = sections(None, size=80, policies=("round robin", "ours, detach"))[0]
    played = [Played(section, {"round robin": FIGURES, "ours, detach": FIGURES}, 50.0, 0.9)]
    for name in ("one", "two"):
        draw(played, [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_a_workload_is_the_same_each_time(name: str) -> None:
    first, second = WORKLOADS[name](200), WORKLOADS[name](200)
    assert first.at_rate(10.0) == second.at_rate(10.0)
    times = [job.arrived_s for job in first.at_rate(10.0)]
    assert times == sorted(times)
    assert [job.index for job in first.jobs] == list(range(200))


def test_figures_are_those_of_the_window() -> None:
    jobs = make_traffic(200, seed=1, per_s=20.0)
    outcome = Replay(jobs, Fleet(SMALL, (1.0, 1.0)), lambda rng, engines: RoundRobin(rng)).run()
    middle, end = jobs[100].arrived_s, jobs[-1].arrived_s
    figures = measure(jobs, outcome, from_s=middle)
    late = [outcome.visits[job.index] for job in jobs[100:]]
    waits = sorted((visit.first_token_s or 0.0) - visit.job.arrived_s for visit in late)
    assert figures.jobs == 100
    assert (figures.p50_s, figures.p90_s) == (waits[50], waits[90])
    ended = [visit for visit in outcome.visits.values() if middle <= (visit.done_s or 0.0) <= end]
    assert figures.completed_per_s == pytest.approx(len(ended) / (end - middle))
    cached = sum(visit.cached_tokens for visit in late) / sum(visit.job.prompt_tokens for visit in late)
    assert figures.hit_ratio == pytest.approx(cached)
    assert (figures.refused, figures.lost) == (0, 0)


def test_no_values_have_a_quantile_of_zero() -> None:
    assert quantile([], 0.9) == 0.0
