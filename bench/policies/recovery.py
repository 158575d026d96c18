"""R5: an engine dies under load and another joins; how long it takes until first tokens come as soon as before."""

from collections.abc import Sequence

import msgspec

from bench.policies.cases import EVEN_SPEEDS, Case, capacity, load_workload
from bench.policies.catalogue import POLICIES
from bench.policies.costs import A100
from bench.policies.figures import quantile
from bench.policies.jobs import Job
from bench.policies.replay import Fleet, Outcome, Replay

LOAD = 0.8
SIZE = 8_000
DIES_AT_S = 60.0
JOINS_AFTER_S = 10.0
WINDOW_S = 2.0
CALM_WINDOWS = 5
CALM = 2.0
"""First tokens are as soon as before while the 9th decile of a window is at most this multiple of the oracle's over all
windows before the death."""


class Recovery(msgspec.Struct, frozen=True):
    """What became of the requests around a death."""

    before_s: float
    """90th percentile of the time to first token in the half minute before."""
    worst_s: float
    """That of the worst window after."""
    recovered_s: float | None
    """Seconds from the death to the end of the first of `CALM_WINDOWS` calm windows in a row; None where none came."""
    lost: int
    retried: int
    series: tuple[tuple[float, float], ...]
    """(seconds from the death to a window's end, its 90th percentile)."""


def run_recovery(policy: str, *, size: int = SIZE, calm_s: float | None = None) -> Recovery:
    """R2 at 80 % of eight engines. `calm_s` is what counts as soon; None for `CALM` times what this policy had."""
    case = Case("r2", policy, LOAD, size)
    jobs = load_workload("r2", size).at_rate(LOAD * capacity(case))
    fleet = Fleet(
        A100,
        (*EVEN_SPEEDS, 1.0),
        deaths=((DIES_AT_S, 0),),
        births=((DIES_AT_S + JOINS_AFTER_S, len(EVEN_SPEEDS)),),
    )
    outcome = Replay(jobs, fleet, POLICIES[policy]).run()
    before = _waits(jobs, outcome, DIES_AT_S / 2, DIES_AT_S)
    before_s = quantile(before, 0.9)
    calm_s = CALM * before_s if calm_s is None else calm_s
    series = []
    end_s = DIES_AT_S + WINDOW_S
    while end_s <= jobs[-1].arrived_s:
        series.append((end_s - DIES_AT_S, quantile(_waits(jobs, outcome, end_s - WINDOW_S, end_s), 0.9)))
        end_s += WINDOW_S
    return Recovery(
        before_s=before_s,
        worst_s=max(wait for _, wait in series),
        recovered_s=find_recovery(series, calm_s),
        lost=len(jobs) - sum(visit.done_s is not None for visit in outcome.visits.values()),
        retried=len(outcome.retried),
        series=tuple(series),
    )


def _waits(jobs: Sequence[Job], outcome: Outcome, from_s: float, until_s: float) -> list[float]:
    """Times to first token of the jobs that came between, sorted; endless for one that never had one."""
    waits = []
    for job in jobs:
        if from_s <= job.arrived_s < until_s:
            first_s = outcome.visits[job.index].first_token_s if job.index in outcome.visits else None
            waits.append(float("inf") if first_s is None else first_s - job.arrived_s)
    return sorted(waits)


def find_recovery(series: Sequence[tuple[float, float]], calm_s: float) -> float | None:
    """The end of the first of `CALM_WINDOWS` windows in a row of at most `calm_s`; None where there are none."""
    for index, (at_s, _) in enumerate(series[: 1 - CALM_WINDOWS]):
        if all(wait <= calm_s for _, wait in series[index : index + CALM_WINDOWS]):
            return at_s
    return None
