"""Laws that an engine must keep, whatever comes."""

from random import Random

import pytest
from bench.policies.costs import A100, BLOCK_TOKENS, Card, Costs
from bench.policies.engine import Engine
from bench.policies.jobs import Chains, Job
from tests.bench_policies.jobs import SMALL, make_job, make_traffic, play

SEEDS = range(6)
HALF_COMPUTED = ((32, 200), (272, 5), (16, 5))
"""Prompt and output of a request that decodes, of one that takes all blocks that are left, and of one behind it."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_is_done_once_and_leaves_nothing_behind(seed: int) -> None:
    engine = Engine(SMALL)
    jobs = make_traffic(300, seed=seed)
    visits = play(engine, jobs)
    assert sorted(visit.job.index for visit in engine.done) == [job.index for job in jobs]
    assert all(visit.generated == visit.job.output_tokens for visit in visits)
    assert engine.is_idle
    assert (engine.pool.used, engine.pool.room) == (0, SMALL.blocks)
    assert engine.preemptions > 0, "too little traffic to see the hard cases"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leap_over_steps_that_only_decode_ends_where_they_end(seed: int) -> None:
    jobs = make_traffic(300, seed=seed)
    leaping, walking = Engine(SMALL), Engine(SMALL, leaps=False)
    pairs = list(zip(play(leaping, jobs), play(walking, jobs), strict=True))
    assert (leaping.steps, leaping.preemptions) == (walking.steps, walking.preemptions)
    for one, other in pairs:
        assert (one.cached_tokens, one.preemptions) == (other.cached_tokens, other.preemptions)
        assert one.first_token_s == pytest.approx(other.first_token_s, rel=1e-9)
        assert one.done_s == pytest.approx(other.done_s, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_faster_than_the_costs_allow(seed: int) -> None:
    engine = Engine(SMALL)
    costs = Costs()
    for visit in play(engine, make_traffic(200, seed=seed)):
        assert visit.first_token_s is not None
        assert visit.done_s is not None
        computed = visit.job.prompt_tokens - visit.cached_tokens
        assert computed >= 1
        chunks = -(-computed // SMALL.most_batched_tokens)
        least = costs.prefill_s(visit.cached_tokens, computed) + chunks * costs.step_s
        assert visit.first_token_s - visit.sent_s >= least - 1e-9
        decoding = costs.decode_s(visit.job.output_tokens - 1, 1, visit.job.prompt_tokens)
        assert visit.done_s - visit.first_token_s >= decoding - 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_first_tokens_come_in_the_order_of_arrival(seed: int) -> None:
    visits = play(Engine(SMALL), make_traffic(300, seed=seed))
    begun = [visit.scheduled_s for visit in visits if visit.scheduled_s is not None]
    assert begun == sorted(begun)
    undisturbed = [visit.first_token_s or 0.0 for visit in visits if not visit.preemptions]
    assert undisturbed == sorted(undisturbed)


def test_one_request_alone_takes_what_the_costs_say() -> None:
    engine, costs = Engine(A100), Costs()
    [visit] = play(engine, [make_job(0, 5_000, 100)])
    prefill = sum(costs.prefill_s(start, min(2_048, 5_000 - start)) + costs.step_s for start in (0, 2_048, 4_096))
    assert visit.first_token_s == pytest.approx(prefill)
    assert visit.done_s == pytest.approx(prefill + costs.decode_s(99, 1, 5_000))
    assert engine.busy_s == pytest.approx(visit.done_s)


def test_a_faster_engine_does_the_same_in_less_time() -> None:
    jobs = [make_job(index, 700, 50) for index in range(20)]
    slow, fast = Engine(A100), Engine(A100, speed=2.0)
    for one, other in zip(play(slow, jobs), play(fast, jobs), strict=True):
        assert one.done_s == pytest.approx(2.0 * (other.done_s or 0.0))


def test_a_prefix_is_found_up_to_its_last_whole_block_and_never_the_whole_prompt() -> None:
    chains = Chains()
    jobs = [
        Job(index, 100.0 * index, chains.pieces([(1, shared), (10 + index, own), (20 + index, 4)]), shared + own, 4)
        for index, (shared, own) in enumerate([(100, 60), (100, 60), (96, 1), (96, 0)])
    ]
    jobs[3] = Job(3, 300.0, chains.pieces([(1, 96), (23, 4)]), 96, 4)
    assert [visit.cached_tokens for visit in play(Engine(A100), jobs)] == [0, 96, 96, 80]


def test_what_an_engine_answered_is_found_as_part_of_the_next_prompt() -> None:
    chains = Chains()
    first = Job(0, 0.0, chains.pieces([(1, 100), (2, 101)]), 100, 101)
    second = Job(1, 50.0, chains.pieces([(1, 100), (2, 101), (3, 40), (4, 5)]), 241, 5)
    # The last token of an answer is never computed: 200 of 201 are in the cache.
    assert play(Engine(A100), [first, second])[1].cached_tokens == 200 // BLOCK_TOKENS * BLOCK_TOKENS


def test_the_youngest_is_preempted_and_goes_on_where_it_was() -> None:
    card = Card("tiny", 1.0, blocks=20, most_batched_tokens=512)
    engine = Engine(card)
    old, young = play(engine, [make_job(0, 140, 150), make_job(1, 140, 150)])
    assert (old.preemptions, young.preemptions) == (0, 1)
    assert (old.done_s or 0.0) < (young.done_s or 0.0)
    assert young.generated == 150
    assert (young.first_token_s or 0.0) < (old.done_s or 0.0), "it had begun before it was preempted"


def test_who_is_preempted_half_computed_is_first_in_the_queue_and_found_only_so_far() -> None:
    engine = Engine(Card("tiny", 1.0, blocks=20, most_batched_tokens=16))
    old, young, third = [engine.send(make_job(index, *size), now=0.0) for index, size in enumerate(HALF_COMPUTED)]
    while not young.preemptions:
        engine.advance(engine.clock_s + 1e-9)
    assert engine.running == [old]
    assert list(engine.waiting) == [young, third]
    # 15 tokens in each of 16 steps, beside the one of the old request.
    assert engine.pool.count_cached(young.job.block_keys(), 17) == 15
    engine.advance(float("inf"))
    assert (young.first_token_s or 0.0) < (third.first_token_s or 0.0)


def test_who_does_not_fit_waits_and_nobody_overtakes() -> None:
    card = Card("tiny", 1.0, blocks=20, most_batched_tokens=512)
    first, large, small = play(Engine(card), [make_job(0, 200, 20), make_job(1, 250, 2), make_job(2, 16, 2)])
    assert (large.scheduled_s or 0.0) >= (first.done_s or 0.0)
    assert (small.scheduled_s or 0.0) >= (large.scheduled_s or 0.0)


def test_a_job_larger_than_the_cache_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Engine(SMALL).send(make_job(0, SMALL.blocks * BLOCK_TOKENS, 1), now=0.0)


def test_no_more_than_the_most_sequences_run() -> None:
    engine = Engine(A100)
    for index in range(A100.most_sequences + 10):
        engine.send(make_job(index, 16, 400), now=0.0)
    engine.advance(1.0)
    assert (len(engine.running), len(engine.waiting)) == (A100.most_sequences, 10)


def test_a_page_shows_what_was_at_the_end_of_the_last_step() -> None:
    engine = Engine(A100)
    visit = engine.send(make_job(0, 1_600, 2), now=0.0)
    engine.advance(0.01)
    before = engine.read_load(now=0.01)
    assert (before.waiting, before.running, before.kv_used_ratio, before.prompt_tokens) == (0, 0, 0.0, 0.0)
    engine.advance(engine.clock_s)
    during = engine.read_load(now=engine.clock_s)
    assert (during.running, during.prompt_tokens, during.prefill_s) == (1, 1_600, 0.0)
    assert during.kv_used_ratio == pytest.approx(100 / A100.blocks)
    engine.advance(float("inf"))
    after = engine.read_load(now=engine.clock_s)
    assert (after.running, after.kv_used_ratio) == (0, 0.0)
    assert after.prefill_s == pytest.approx(visit.first_token_s)
    assert (after.blocks, after.block_tokens) == (A100.blocks, BLOCK_TOKENS)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_does_the_same_however_often_it_is_asked(seed: int) -> None:
    jobs, rng = make_traffic(150, seed=seed), Random(seed)
    asked = Engine(SMALL)
    visits = []
    for job in jobs:
        at_s = asked.clock_s
        while (at_s := at_s + rng.random() * 0.02) < job.arrived_s:
            asked.advance(at_s)
        asked.advance(job.arrived_s)
        visits.append(asked.send(job, now=job.arrived_s))
    asked.advance(float("inf"))
    for one, other in zip(visits, play(Engine(SMALL), jobs), strict=True):
        assert one.done_s == pytest.approx(other.done_s, rel=1e-9)


def test_the_forecast_of_the_first_token_is_what_comes_true() -> None:
    engine = Engine(A100)
    for index in range(5):
        engine.send(make_job(index, 3_000, 40), now=0.0)
    job = make_job(9, 1_000, 5)
    forecast = engine.first_token_s(job, job.block_keys(), now=0.0)
    visit = engine.send(job, now=0.0)
    engine.advance(float("inf"))
    assert visit.first_token_s == pytest.approx(forecast, rel=0.1)
