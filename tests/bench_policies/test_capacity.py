"""What counts as all that engines can do."""

import msgspec
import pytest
from bench.policies.capacity import joined_hit_ratio, measure_capacity
from bench.policies.costs import A100, BLOCK_TOKENS, Costs
from bench.policies.jobs import Chains, Job
from bench.policies.workloads import shared_prefixes
from tests.bench_policies.jobs import make_job


def test_prompts_alone_are_done_as_fast_as_they_are_computed() -> None:
    jobs = [make_job(index, 2_048, 1) for index in range(100)]
    costs = Costs()
    assert measure_capacity(jobs, A100, (1.0, 0.5)) == pytest.approx(1.5 / (costs.prefill_s(0, 2_048) + costs.step_s))


def test_a_prefix_that_is_known_makes_the_capacity_larger() -> None:
    workload = shared_prefixes(300)
    unshared = [
        msgspec.structs.replace(job, pieces=make_job(job.index, job.prompt_tokens, job.output_tokens).pieces)
        for job in workload.jobs
    ]
    speeds = (1.0,) * 8
    assert measure_capacity(workload.jobs, A100, speeds) > 2 * measure_capacity(unshared, A100, speeds)


def test_the_joined_cache_finds_what_one_cache_of_that_size_does() -> None:
    chains = Chains()
    # Two prompts of three quarters of a cache each, in turn: of the one that was there before, the first third is left.
    tokens = A100.blocks * BLOCK_TOKENS * 3 // 4
    jobs = [
        Job(index, 0.0, chains.pieces([(1 + index % 2, tokens), (9 + index, 16)]), tokens, 16) for index in range(4)
    ]
    assert joined_hit_ratio(jobs, A100, 1) == pytest.approx(1 / 6, rel=1e-3)
    assert joined_hit_ratio(jobs, A100, 2) == pytest.approx(0.5, rel=1e-3)


def test_the_end_when_work_runs_out_counts_for_nothing() -> None:
    jobs = [make_job(index, 2_048, 1) for index in range(100)]
    with_a_long_one = [*jobs[:-1], make_job(99, 2_048, 3_000)]
    assert measure_capacity(with_a_long_one, A100, (1.0,)) == pytest.approx(measure_capacity(jobs, A100, (1.0,)))


def test_the_last_block_of_a_whole_prompt_is_always_computed() -> None:
    chains = Chains()
    jobs = [Job(index, 0.0, chains.pieces([(1, 160), (9 + index, 16)]), 160, 16) for index in range(2)]
    assert joined_hit_ratio(jobs, A100, 8) == pytest.approx(144 / 320)
