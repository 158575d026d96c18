"""What is reported of a run."""

from collections.abc import Sequence

import msgspec

from bench.policies.jobs import Job
from bench.policies.replay import Outcome


class Figures(msgspec.Struct, frozen=True):
    """Of the jobs that arrived within a window."""

    jobs: int
    p50_s: float
    """Time to first token, from arrival: what was lost with an engine and came again counts from the first time."""
    p90_s: float
    p99_s: float
    hit_ratio: float
    """Prompt tokens found in the engines' caches, of all."""
    completed_per_s: float
    """Requests that ended within the window, a second."""
    preemptions: int
    """Of the whole run."""
    refused: int
    lost: int
    """Jobs that neither ended nor were refused."""


def measure(jobs: Sequence[Job], outcome: Outcome, *, from_s: float = 0.0, until_s: float | None = None) -> Figures:
    """The figures of the jobs that arrived from `from_s` on and before `until_s`, by default to the last one."""
    end_s = jobs[-1].arrived_s if until_s is None else until_s
    within = [job for job in jobs if from_s <= job.arrived_s <= end_s]
    visits = [outcome.visits[job.index] for job in within if job.index in outcome.visits]
    waits = sorted([visit.first_token_s - visit.job.arrived_s for visit in visits if visit.first_token_s is not None])
    prompt_tokens = sum([visit.job.prompt_tokens for visit in visits])
    ends = [visit.done_s for visit in outcome.visits.values() if visit.done_s is not None]
    refused = sum([job.index in outcome.refused for job in within])
    return Figures(
        jobs=len(within),
        p50_s=quantile(waits, 0.5),
        p90_s=quantile(waits, 0.9),
        p99_s=quantile(waits, 0.99),
        hit_ratio=sum([visit.cached_tokens for visit in visits]) / max(prompt_tokens, 1),
        completed_per_s=sum([from_s <= end <= end_s for end in ends]) / (end_s - from_s),
        preemptions=outcome.preemptions,
        refused=refused,
        lost=len(within) - refused - sum([visit.done_s is not None for visit in visits]),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
