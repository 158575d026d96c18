"""R1 to R6 and the shedding of what may be shed, each against its goal: the lines of `python -m bench r2` and so on."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.policies.capacity import joined_hit_ratio
from bench.policies.cases import EVEN_SPEEDS, MIXED_SPEEDS, Case, Runs, load_workload
from bench.policies.churn import Churn
from bench.policies.costs import CARDS
from bench.policies.figures import Figures
from bench.policies.overload import run_overload
from bench.policies.recovery import CALM, run_recovery
from bench.results import BenchError, Result

OURS = ("ours, detach", "ours, track")
SIZE = 8_000
OVERLOAD_SIZE = 24_000
"""Long enough for the queues to come to their new lengths: what is on its way at the end is not completed."""
"""Requests of a run."""
HEAVY_TAILED_SIZE = 20_000
TRACE_SIZE = 1 << 20
"""All of it."""
LOADS = (0.5, 0.8, 0.95)
CHURN_S = 300.0


async def run_r1() -> AsyncIterator[Result]:
    """Wrong pods, wrong refusals, lost."""
    count = Churn(CHURN_S).run()
    good, blind = (count.routed + count.refused) / count.requests, count.blind / count.requests
    wrong = count.wrong_pods + count.lost + count.wrong_refusals + count.unanswered
    yield Result(
        name="R1 right pod or honest refusal",
        figure=f"{good:.3%}",
        reference=f"{blind:.1%}",
        ratio=f"{good / blind:.2f}",
        goal="= 100.000 %",
        is_ok=good == 1.0,
    )
    yield Result(
        name="   wrong pod, lost, wrong refusal",
        figure=f"{wrong} of {count.requests}",
        reference=f"{count.requests - count.blind}",
        goal="= 0",
        is_ok=wrong == 0,
    )


async def run_r2(runs: Runs | None = None) -> AsyncIterator[Result]:
    """Long shared prefixes at 80 % of the capacity."""
    runs = runs or Runs()
    figures = _play(runs, [Case("r2", name, 0.8, SIZE) for name in (*OURS, "round robin", "least request")])
    for ours in OURS:
        yield _first_token(f"R2 p90, {ours}", figures[ours], "round robin", figures["round robin"], 0.5)
        yield _first_token("   the same", figures[ours], "least request", figures["least request"], 0.6)
        mine, other = figures[ours].completed_per_s, figures["round robin"].completed_per_s
        yield Result(
            name="   completed, against round robin",
            figure=f"{mine:.1f}/s",
            reference=f"{other:.1f}/s",
            ratio=f"{mine / other:.2f}",
            goal="≥ 1.50",
            is_ok=mine >= 1.5 * other,
        )


async def run_r3(runs: Runs | None = None) -> AsyncIterator[Result]:
    """Independent prompts, heavy tails, mixed speeds."""
    runs = runs or Runs()
    for load in LOADS:
        cases = [Case("r3", name, load, HEAVY_TAILED_SIZE, speeds=MIXED_SPEEDS) for name in (*OURS, "least request")]
        figures = _play(runs, cases)
        for ours in OURS:
            name = f"R3 p90 at {load:.0%}, {ours}"
            yield _first_token(name, figures[ours], "least request", figures["least request"], 1.0)


async def run_r4(runs: Runs | None = None) -> AsyncIterator[Result]:
    """Three replicas that share nothing."""
    runs = runs or Runs()
    for ours in OURS:
        cases = [Case("r2", ours, 0.8, SIZE, replicas=replicas) for replicas in (3, 1)]
        (_, three), (_, one) = runs.play(cases)
        yield _hits(f"R4 hits of 3 replicas, {ours}", three.hit_ratio, one.hit_ratio, 0.95)


async def run_r5() -> AsyncIterator[Result]:
    """An engine dies and one joins."""
    oracle = run_recovery("oracle")
    if oracle.recovered_s is None:
        raise BenchError("the oracle did not recover")
    for ours in OURS:
        mine = run_recovery(ours, calm_s=CALM * oracle.before_s)
        took = "never" if mine.recovered_s is None else f"{mine.recovered_s:.0f} s"
        yield Result(
            name=f"R5 recovered after, {ours}",
            figure=took,
            reference=f"{oracle.recovered_s:.0f} s",
            ratio="" if mine.recovered_s is None else f"{mine.recovered_s / oracle.recovered_s:.2f}",
            goal="≤ 2.00",
            is_ok=mine.recovered_s is not None and mine.recovered_s <= 2 * oracle.recovered_s,
        )
        yield Result(name="   lost", figure=str(mine.lost), goal="= 0", is_ok=mine.lost == 0)


async def run_r6(trace: Path | None = None, runs: Runs | None = None) -> AsyncIterator[Result]:
    """A trace file, on engines with a small and with a large cache."""
    if trace is None:
        yield Result(name="R6 needs --trace FILE", figure="not run")
        return
    runs = runs or Runs()
    others = ("round robin", "least request", "prefix only")
    for card in CARDS.values():
        joined = joined_hit_ratio(load_workload(str(trace), TRACE_SIZE).jobs, card, len(EVEN_SPEEDS))
        for load in LOADS:
            names = (*OURS, *others) if load == 0.8 else OURS
            figures = _play(runs, [Case(str(trace), name, load, TRACE_SIZE, card.name) for name in names])
            for ours in OURS:
                name = f"R6 {card.name} hits at {load:.0%}, {ours}"
                yield _hits(name, figures[ours].hit_ratio, joined, 0.9)
                if load == 0.8:
                    best = min(others, key=lambda other: figures[other].p90_s)
                    yield _first_token(f"   p90 against {best}", figures[ours], best, figures[best], 0.8)


async def run_shedding() -> AsyncIterator[Result]:
    """1.5 times the capacity, 30 % of it sheddable."""
    for workload in ("r2", "r3"):
        alone, mixed = [run_overload(workload, size=OVERLOAD_SIZE, with_sheddable=with_it) for with_it in (False, True)]
        yield Result(
            name=f"shedding, {workload}: the rest completed",
            figure=f"{mixed.rest_per_s:.1f}/s",
            reference=f"{alone.rest_per_s:.1f}/s",
            ratio=f"{mixed.rest_per_s / alone.rest_per_s:.2f}",
            goal="≥ 0.95",
            is_ok=mixed.rest_per_s >= 0.95 * alone.rest_per_s,
        )
        yield Result(
            name="   its first tokens within 2 s",
            figure=f"{mixed.rest_soon:.1%}",
            reference=f"{alone.rest_soon:.1%}",
        )
        refused = mixed.rest_refused + mixed.badly_refused
        yield Result(
            name="   refused otherwise than 429, or not shed",
            figure=f"{refused} of {mixed.shed + mixed.rest_refused}",
            goal="= 0",
            is_ok=refused == 0,
        )


def _play(runs: Runs, cases: Sequence[Case]) -> dict[str, Figures]:
    return {case.policy: figures for case, figures in runs.play(cases)}


def _first_token(name: str, ours: Figures, other_name: str, other: Figures, goal: float) -> Result:
    """A line on the 90th percentile of the time to first token."""
    return Result(
        name=name if other_name in name else f"{name} / {other_name}",
        figure=f"{ours.p90_s * 1e3:,.0f} ms",
        reference=f"{other.p90_s * 1e3:,.0f} ms",
        ratio=f"{ours.p90_s / other.p90_s:.2f}",
        goal=f"≤ {goal:.2f}",
        is_ok=ours.p90_s <= goal * other.p90_s,
    )


def _hits(name: str, ours: float, reference: float, goal: float) -> Result:
    return Result(
        name=name,
        figure=f"{ours:.3f}",
        reference=f"{reference:.3f}",
        ratio=f"{ours / reference:.2f}",
        goal=f"≥ {goal:.2f}",
        is_ok=ours >= goal * reference,
    )
