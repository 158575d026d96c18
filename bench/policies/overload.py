"""More than the engines can do, of which a part may be shed: what the rest gets, and what the shed part is told."""

from random import Random

import msgspec

from bench.policies.cases import Case, capacity, load_workload
from bench.policies.catalogue import make_shedding
from bench.policies.replay import Fleet, Replay

LOAD = 1.5
SHEDDABLE = 0.3
OBJECTIVE = "batch"
WARM_UP = 0.2
SOON_S = 2.0
SEED = 7


class Overload(msgspec.Struct, frozen=True):
    """What became of the requests after the warm-up."""

    rest_per_s: float
    """Requests that may not be shed, completed a second."""
    rest_soon: float
    """The share of them that had their first token within `SOON_S`."""
    rest_refused: int
    sheddable: int
    shed: int
    """Of those, refused."""
    badly_refused: int
    """Refusals of any that were no 429 with a retry-after."""


def run_overload(workload: str, *, size: int, with_sheddable: bool) -> Overload:
    """Plays 1.5 times the capacity, or without the sheddable part what is left of it, at the same times."""
    case = Case(workload, "ours, detach", LOAD, size)
    rng = Random(SEED)
    jobs = [
        msgspec.structs.replace(job, objective=OBJECTIVE) if rng.random() < SHEDDABLE else job
        for job in load_workload(workload, size).at_rate(LOAD * capacity(case))
    ]
    if not with_sheddable:
        jobs = [job for job in jobs if job.objective is None]
    outcome = Replay(jobs, Fleet(), make_shedding({OBJECTIVE: -1})).run()
    end_s = jobs[-1].arrived_s
    from_s = WARM_UP * end_s
    visits = [visit for visit in outcome.visits.values() if visit.job.objective is None]
    done = [visit for visit in visits if visit.done_s is not None and from_s <= visit.done_s <= end_s]
    late = [visit for visit in visits if visit.job.arrived_s >= from_s]
    waits = sorted([visit.first_token_s - visit.job.arrived_s for visit in late if visit.first_token_s is not None])
    by_index = {job.index: job for job in jobs}
    refused = [(by_index[index], reject.refusal) for index, (_, reject) in outcome.refused.items()]
    return Overload(
        rest_per_s=len(done) / (end_s - from_s),
        rest_soon=sum(wait <= SOON_S for wait in waits) / len(waits),
        rest_refused=sum(job.objective is None for job, _ in refused),
        sheddable=sum(job.objective is not None for job in jobs),
        shed=sum(job.objective is not None for job, _ in refused),
        badly_refused=sum(refusal.status != 429 or not refusal.retry_after_s for _, refusal in refused),
    )
